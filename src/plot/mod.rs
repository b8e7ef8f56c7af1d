//! Figures of a run, as SVG and PNG, in one look.
//!
//! A figure is laid out once as a list of marks (`scene`) and drawn by plotters' SVG and bitmap
//! backends (`render`). SVG text is real text; the font for the bitmaps is embedded.

mod axis;
mod chart;
mod font;
mod growth;
mod hypervolume;
mod importance;
mod labels;
mod parallel;
mod parity;
mod render;
mod scatter;
mod scene;
mod shares;
mod slices;
mod style;
mod thin;
mod timeline;

pub use growth::{Growth, draw_growth};
pub use parity::{Parity, check_name, draw_parity};
pub use shares::{SharesCurve, draw_shares};
pub use timeline::draw_timeline;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thiserror::Error;

use crate::archive::{ArchiveError, RunData, write_atomic};
use crate::shortlist::{Shortlist, knob_importance, metric_label, metric_phrase};
use crate::space::Objective;
use crate::twin::metrics::{METRICS, Metric};
use scatter::Scatter;
use scene::Scene;

/// A figure that could not be made.
#[derive(Debug, Error)]
pub enum PlotError {
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] ArchiveError),
    /// The drawing library refused.
    #[error("cannot draw: {0}")]
    Draw(String),
}

/// A figure before it is drawn.
struct Figure {
    /// File name without ending.
    name: String,
    /// What it shows, for readers who cannot see it.
    description: String,
    title: String,
    scene: Scene,
}

/// The figures of a run before they are drawn: laid out once for files and page.
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Lays out every figure that the run has data for:
    ///
    /// * `frontier` (and `frontier-1-3`, `frontier-2-3` for three objectives): all candidates in the
    ///   plane of two objectives;
    /// * `hypervolume`: how it grew;
    /// * `per-gpu-vs-per-user`: tokens/s/GPU against tokens/s/user;
    /// * `frontier-configurations`: the frontier in parallel coordinates;
    /// * `knob-importance`: what the objectives depend on;
    /// * `slices-<objective>`: the objective against each knob.
    ///
    /// # Errors
    /// `Draw` when the drawing library refuses its font.
    pub fn of(run: &RunData, shortlist: &Shortlist) -> Result<Figures, PlotError> {
        style::ensure_font()?;
        Ok(Figures(figures(run, shortlist)))
    }

    /// Draws them into `directory`, each as `.svg` and `.png`; returns the files written. Same run,
    /// same bytes.
    ///
    /// # Errors
    /// `File` when the directory or a file in it cannot be written; `Draw` when the library refuses.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, PlotError> {
        std::fs::create_dir_all(directory).map_err(ArchiveError::io("create", directory))?;
        let written: Result<Vec<[PathBuf; 2]>, PlotError> =
            self.0.par_iter().map(|figure| write_figure(figure, directory)).collect();
        Ok(written?.into_iter().flatten().collect())
    }

    /// Draws them as SVG only, into memory.
    ///
    /// # Errors
    /// `Draw` when the library refuses.
    pub fn svgs(&self) -> Result<Vec<Drawn>, PlotError> {
        let drawn = self.0.par_iter().map(|Figure { name, description, title, scene }| {
            let svg = render::svg(scene, title, description)?;
            Ok(Drawn { name: name.clone(), title: title.clone(), description: description.clone(), svg })
        });
        drawn.collect()
    }
}

/// A figure as an SVG document.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// File name without ending.
    pub name: String,
    pub title: String,
    /// What it shows, for readers who cannot see it.
    pub description: String,
    pub svg: String,
}

fn write_figure(figure: &Figure, directory: &Path) -> Result<[PathBuf; 2], PlotError> {
    let svg = directory.join(format!("{}.svg", figure.name));
    write_atomic(&svg, render::svg(&figure.scene, &figure.title, &figure.description)?.as_bytes())?;
    let png = directory.join(format!("{}.png", figure.name));
    render::write_png(&figure.scene, &png)?;
    Ok([svg, png])
}

/// The figures, laid out on all threads: of a million candidates each takes a while.
fn figures(run: &RunData, shortlist: &Shortlist) -> Vec<Figure> {
    type Layout<'a> = Box<dyn Fn() -> Figure + Send + Sync + 'a>;
    let objectives = &run.study.objectives;
    let frontier = run.frontier();
    let frontier = &frontier;
    let importance = knob_importance(run);
    let importance = importance.as_ref();
    let mut layouts: Vec<Layout> = Vec::new();
    for (b, &second) in objectives.iter().enumerate() {
        for (a, &first) in objectives[..b].iter().enumerate() {
            let name = if (a, b) == (0, 1) { "frontier".to_string() } else { format!("frontier-{}-{}", a + 1, b + 1) };
            layouts.push(Box::new(move || scatter(&name, (first, second), run, shortlist, frontier)));
        }
    }
    layouts.push(Box::new(|| Figure {
        name: "hypervolume".into(),
        title: hypervolume::TITLE.into(),
        description: "How the share of the final frontier's hypervolume grew during the search.".into(),
        scene: hypervolume::scene(run, shortlist),
    }));
    let higher = |metric: Metric| Objective { metric: metric as usize, maximize: true };
    let plane = (higher(Metric::TokensPerSPerUser), higher(Metric::OutputTokensPerSPerGpu));
    layouts.push(Box::new(move || scatter("per-gpu-vs-per-user", plane, run, shortlist, frontier)));
    layouts.push(Box::new(|| Figure {
        name: "frontier-configurations".into(),
        title: parallel::TITLE.into(),
        description: "Each frontier member as a line through its knobs and objectives; the shortlist is marked.".into(),
        scene: parallel::scene(run, shortlist, frontier),
    }));
    layouts.push(Box::new(move || Figure {
        name: "knob-importance".into(),
        title: importance::TITLE.into(),
        description: "How much of each objective's variance is lost when a knob is shuffled.".into(),
        scene: importance::scene(run, shortlist, importance),
    }));
    for (index, objective) in objectives.iter().enumerate() {
        let title = format!("{} by knob", metric_label(objective.metric));
        layouts.push(Box::new(move || Figure {
            name: format!("slices-{}", METRICS[objective.metric].name),
            description: format!("{} against each knob, over feasible candidates.", METRICS[objective.metric].name),
            scene: slices::scene(run, shortlist, index, importance, &title),
            title: title.clone(),
        }));
    }
    layouts.par_iter().map(|layout| layout()).collect()
}

fn scatter(
    name: &str,
    (x, y): (Objective, Objective),
    run: &RunData,
    shortlist: &Shortlist,
    frontier: &[usize],
) -> Figure {
    let title = format!("{} against {}", metric_label(y.metric), metric_phrase(x.metric));
    let [x_name, y_name] = [x, y].map(|o| METRICS[o.metric].name);
    let description = format!(
        "Candidates by {x_name} (across) and {y_name} (up): feasible, infeasible, the frontier as a staircase, and the shortlist, numbered."
    );
    let scene = Scatter { title: title.clone(), x, y, run, shortlist, frontier }.scene();
    Figure { name: name.into(), description, title, scene }
}
