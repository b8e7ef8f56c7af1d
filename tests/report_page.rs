//! `report.html`: whole, closed in itself, and driven in a headless browser where there is one.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use servescout::archive::{RunData, RunDir};
use servescout::plot::Figures;
use servescout::report::html;
use servescout::shortlist::build;

use crate::fixture::{large_study, modelled, run_in, study};

const HOSTILE: &str = "</script><img src=x onerror=\"window.failed=1\">'&\u{1}";

/// A page of a run whose names are out to break it.
fn page(n: usize) -> String {
    let study = if n > 1000 { large_study() } else { study() };
    let directory = tempfile::tempdir().unwrap();
    let run = run_in(directory.path(), &study, &modelled(&study, n));
    let mut manifest = RunDir::open(directory.path()).unwrap().manifest().clone();
    manifest.space.toml = format!("# {HOSTILE}\n{}", manifest.space.toml);
    let mut data = run;
    data.study.name = HOSTILE.into();
    data.workload.source = HOSTILE.into();
    data.study.model.name = HOSTILE.into();
    poison(&mut data);
    let shortlist = build(&data, 6);
    html(&data, &manifest, &shortlist, &Figures::of(&data, &shortlist).unwrap()).unwrap()
}

/// Reasons out of files may hold anything too.
fn poison(data: &mut RunData) {
    for evaluation in data.batches.iter_mut().flat_map(|batch| &mut batch.evaluations) {
        if evaluation.violation > 0.0 {
            evaluation.reason = Some(HOSTILE.into());
        }
    }
}

#[test]
fn a_page_of_many_candidates_is_below_three_megabytes_and_names_no_other_place() {
    let page = page(46_000);
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert!(
        page.contains("46,000 candidates evaluated") && page.contains("simulated candidates 6,000 are in this page")
    );
    for reference in [" src=\"", "href=\"http", "url(", "@import", "<link rel=\"style", "fetch(", "XMLHttp"] {
        let own = page.replace(&servescout::report::escape_html(HOSTILE), "");
        assert!(!own.contains(reference), "the page has {reference}");
    }
    assert_eq!(page.matches("<script").count(), 2, "data and script, nothing that a name brought along");
    assert!(!page.contains("<img"));
}

const BEFORE: &str = "<head><script>window.problems=[];window.addEventListener('error',e=>problems.push(String(e.message||e.target)),true);window.addEventListener('unhandledrejection',e=>problems.push(String(e.reason)));for(const kind of ['error','warn'])console[kind]=(...a)=>problems.push(a.join(' '));window.addEventListener('securitypolicyviolation',e=>problems.push('blocked '+e.blockedURI));</script>";

/// Drives the page as a reader would and leaves what it saw in the document.
const DRIVER: &str = r##"<script>
{
  const $ = (id) => document.getElementById(id);
  const count = () => Number($("count").textContent.split(" ")[0].replaceAll(",", ""));
  const input = (node, value) => { node.value = value; node.dispatchEvent(new Event("input", { bubbles: true })); };
  const seen = { ready: document.documentElement.dataset.ready === "true", all: count() };
  const firstRow = () => $("table").tBodies[0].rows[0];
  input($("filter"), "aggregated.tp=8");
  seen.filtered = count();
  seen.texts = [...$("table").tBodies[0].rows].every((r) => r.textContent.includes("TP8"));
  input($("filter"), "no such thing");
  seen.nothing = count();
  $("reset").click();
  seen.reset = count();
  $("state").value = "frontier";
  $("state").dispatchEvent(new Event("change"));
  seen.frontier = count();
  $("reset").click();
  const title = (name) => [...$("table").tHead.querySelectorAll("button")].find((b) => b.textContent.startsWith(name));
  const cell = (row, name) => { const at = [...$("table").tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith(name)); return Number(row.cells[at].textContent.replaceAll(",", "")); };
  title("ttft_p90_ms").click();
  seen.least = cell(firstRow(), "ttft_p90_ms");
  title("ttft_p90_ms").click();
  seen.most = cell(firstRow(), "ttft_p90_ms");
  const mark = [...document.querySelectorAll("#plot .mark[tabindex]")].at(-1);
  mark.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  seen.clicked = mark.dataset.row;
  seen.detail = $("detail").dataset.row;
  seen.line = document.querySelector("#table tr.chosen")?.dataset.row;
  const stop = document.querySelector("#plot .mark[tabindex]");
  stop.focus();
  seen.focused = $("detail").dataset.row === stop.dataset.row;
  const right = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
  const leftmost = [...document.querySelectorAll("#plot .mark[tabindex]")].sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)[0];
  leftmost.focus();
  leftmost.dispatchEvent(right);
  seen.moved = document.activeElement !== leftmost && document.activeElement.classList.contains("mark");
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  seen.entered = document.querySelector("#table tr.chosen")?.dataset.row === document.activeElement.dataset.row;
  input(document.querySelector("#brushes input[data-end='1']"), "300");
  seen.brushed = count();
  seen.dimmed = document.querySelectorAll("#plot .dim").length;
  $("reset").click();
  const ground = $("ground").getBoundingClientRect();
  const pointer = (type, x, y) => $("ground").dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 1, pointerType: "mouse", clientX: ground.x + x * ground.width, clientY: ground.y + y * ground.height }));
  $("plot").setPointerCapture = () => {};
  pointer("pointerdown", 0.02, 0.3); pointer("pointermove", 0.4, 0.9); pointer("pointerup", 0.45, 0.98);
  seen.boxed = count();
  $("reset").click();
  $("x").value = "1"; $("x").dispatchEvent(new Event("change"));
  seen.redrawn = document.querySelectorAll("#plot .mark").length;
  seen.wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  seen.width = document.documentElement.clientWidth;
  seen.unnamed = [...document.querySelectorAll("svg")].filter((s) => !s.getAttribute("aria-label") && s.getAttribute("aria-hidden") !== "true").length;
  seen.unlabelled = [...document.querySelectorAll("input,select")].filter((n) => !n.labels.length && !n.getAttribute("aria-label")).length;
  seen.requests = performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:"));
  seen.failed = window.failed === 1;
  seen.title = document.title;
  seen.problems = window.problems;
  document.body.append(Object.assign(document.createElement("pre"), { id: "seen", textContent: "SEEN" + btoa(unescape(encodeURIComponent(JSON.stringify(seen)))) + "NEES" }));
}
</script></body>"##;

fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()))
}

/// What the driver saw at this width.
fn drive(browser: &str, file: &Path, profile: &Path, width: u32) -> Json {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},900"))
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let seen = dom.split_once(">SEEN").and_then(|(_, rest)| rest.split_once("NEES"));
    let (seen, _) =
        seen.unwrap_or_else(|| panic!("the driver did not end: {}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_slice(&base64(seen)).unwrap()
}

/// Decodes base64.
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for letter in text.bytes().filter(|b| *b != b'=') {
        bits = bits << 6 | LETTERS.iter().position(|l| *l == letter).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

#[test]
fn a_browser_sorts_filters_brushes_and_selects_without_a_request() {
    let Some(browser) = browser() else {
        println!("skipped: there is no chromium to open the page with");
        return;
    };
    let page = page(300).replacen("<head>", BEFORE, 1).replace("</body>", DRIVER);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    std::fs::write(&file, page).unwrap();
    for width in [1400, 500] {
        let seen = drive(browser, &file, &directory.path().join("profile"), width);
        let n = |key: &str| seen[key].as_f64().unwrap_or_else(|| panic!("{key}: {seen}"));
        let holds = |key: &str| assert_eq!(seen[key], true, "{key}: {seen}");
        assert_eq!(seen["problems"], serde_json::json!([]), "{seen}");
        assert_eq!(seen["requests"], serde_json::json!([]), "{seen}");
        assert_eq!(seen["failed"], false, "a name was run as code: {seen}");
        for key in ["ready", "texts", "focused", "moved", "entered", "wide"] {
            holds(key);
        }
        assert!(
            n("filtered") > 0.0 && n("filtered") < n("all") && n("nothing") == 0.0 && n("reset") == n("all"),
            "{seen}"
        );
        assert!(n("frontier") > 1.0 && n("frontier") < n("all"), "{seen}");
        assert!(n("least") < n("most"), "{seen}");
        assert!(
            seen["clicked"].is_string() && seen["detail"] == seen["clicked"] && seen["line"] == seen["clicked"],
            "{seen}"
        );
        assert!(n("brushed") < 0.5 * n("all") && n("brushed") > 0.0 && n("dimmed") > 0.0, "{seen}");
        assert!(n("boxed") < n("all") && n("boxed") > 0.0 && n("redrawn") > 0.0, "{seen}");
        assert_eq!((n("unnamed"), n("unlabelled")), (0.0, 0.0), "{seen}");
        assert!(seen["title"].as_str().unwrap().starts_with("</script>"), "{seen}");
    }
}
