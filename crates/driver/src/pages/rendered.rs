//! Pages as a browser shows them: nothing overflows, words are large and clear enough, names in
//! charts do not overlap, and every picture has a text of its own.
//!
//! The browser is `ROBUSTSEG_CHROMIUM`, or `chromium`. Without it the test is skipped with a line.
//! `ROBUSTSEG_PAGES` keeps the pages in a folder, for looking at them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{compare, fixture, write_report};
use crate::draw::html::escape;
use crate::run_directory::RunDirectory;

/// Widths of a desktop's window and of a phone, in pixels.
const WIDTHS: [u32; 2] = [1280, 390];

/// Writes the reports of `runs` runs with `classes` classes and their comparison into `folder`.
/// Returns the first report and the comparison.
fn pages(folder: &Path, runs: usize, classes: usize) -> [PathBuf; 2] {
    let methods = ["basic", "fgsm: {epsilon: 0.03}", "fast_newton: {}", "bim: {}"];
    let mut paths = Vec::new();
    for index in 0..runs {
        let method = methods[index % methods.len()];
        let name = format!("scenes_{}_{index}", method.split(':').next().unwrap_or_default());
        let path = folder.join(&name);
        let (miou, seconds) = (0.8 - 0.01 * index as f64, 2.0 + 0.3 * index as f64);
        fixture::run_of(&path, &name, method, miou, seconds, &fixture::many_classes(classes));
        let file = path.join("evaluation.json");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("\"seed\": 0", &format!("\"seed\": {index}"))).unwrap();
        write_report(&RunDirectory::lock(&path).unwrap()).unwrap();
        paths.push(path);
    }
    let out = RunDirectory::lock(&folder.join("compared")).unwrap();
    compare(&paths, &out).unwrap();
    [paths[0].join("report.html"), out.file("compare.html")]
}

/// The faults of `pages`, one a line, in a light or a dark browser.
fn faults(chromium: &str, folder: &Path, pages: &[(String, PathBuf)], dark: bool) -> String {
    let mut frames = String::new();
    for (name, path) in pages {
        let page = std::fs::read_to_string(path).unwrap();
        for width in WIDTHS {
            frames += &format!(
                "<iframe title=\"{name} at {width}\" style=\"width:{width}px;height:900px;border:0\" srcdoc=\"{}\"></iframe>\n",
                escape(&page)
            );
        }
    }
    let script = include_str!("rendered.js");
    let html = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><pre id=\"found\"></pre>\n<script>{script}</script>\n{frames}"
    );
    let file = folder.join("frames.html");
    std::fs::write(&file, html).unwrap();
    let scheme = if dark { "--blink-settings=preferredColorScheme=0" } else { "--disable-dark-mode" };
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1400,1000",
            "--dump-dom",
            scheme,
        ])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.split("<pre id=\"found\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let found = found.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let measured = format!("measured {}", pages.len() * WIDTHS.len());
    found.strip_prefix(&measured).unwrap_or_else(|| panic!("{found}")).trim().to_owned()
}

#[test]
fn pages_have_no_fault_in_a_browser() {
    let chromium = std::env::var("ROBUSTSEG_CHROMIUM").unwrap_or_else(|_| "chromium".into());
    if Command::new(&chromium).arg("--version").output().is_err() {
        eprintln!("skipped: there is no {chromium}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("ROBUSTSEG_PAGES").map(PathBuf::from);
    let kept = kept.unwrap_or_else(|| folder.path().to_owned());
    let mut all = Vec::new();
    for (runs, classes) in [(1, 3), (5, 21), (13, 3)] {
        let [report, comparison] = pages(&kept.join(format!("{runs}_{classes}")), runs, classes);
        all.push((format!("comparison of {runs}"), comparison));
        if runs < 13 {
            all.push((format!("report with {classes} classes"), report));
        }
    }
    for dark in [false, true] {
        let found = faults(&chromium, folder.path(), &all, dark);
        assert!(found.is_empty(), "dark: {dark}\n{found}");
    }
}
