//! Which groups a set of points is scored by.

use super::points::Point;
use super::score::{Compared, Score, score};
use crate::catalog::Backend;

/// Scores by group, in a fixed order: backends, kinds of model, sources, then every combination of
/// source, backend, model, GPU and precision.
pub fn scored(rows: &[Compared<'_>]) -> Vec<(String, Score)> {
    let mut groups: Vec<(String, Score)> = Vec::new();
    let mut add = |name: String, keep: &dyn Fn(&Point) -> bool| {
        let members: Vec<Compared<'_>> = rows.iter().copied().filter(|r| keep(r.point)).collect();
        if !members.is_empty() {
            groups.push((name, score(&members)));
        }
    };
    for backend in Backend::ALL {
        add(backend.name().into(), &|p| p.backend == backend);
    }
    let open = |p: &Point| p.backend != Backend::Trtllm;
    add("vllm and sglang".into(), &open);
    add("vllm and sglang, dense".into(), &|p| open(p) && p.model.moe.is_none());
    add("dense".into(), &|p| p.model.moe.is_none());
    add("mixture of experts".into(), &|p| p.model.moe.is_some());
    let sorted = |name: &dyn Fn(&Point) -> String| {
        let mut names: Vec<String> = rows.iter().map(|r| name(r.point)).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    for source in sorted(&|p| p.source.clone()) {
        add(source.clone(), &|p| p.source == source);
    }
    for name in sorted(&series) {
        add(name.clone(), &|p| series(p) == name);
    }
    groups
}

/// The series of measurements that a point belongs to.
pub fn series(point: &Point) -> String {
    let source = if point.source.is_empty() { String::new() } else { format!("{} ", point.source) };
    let precision = if point.precision.is_empty() { "bf16" } else { &point.precision };
    format!("{source}{} {} {precision} {}", point.backend.name(), point.model_name, point.gpu.name)
}
