//! Folders that cannot be written or read (missing rights, read-only, circular links), and names in
//! any script.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::common::{checkpoint, robustseg};
use crate::short_run::{ShortRun, fails};

/// The user id of nobody, which lacks root's right to access everything.
const NOBODY: u32 = 65534;

/// `command` without the rights of root.
fn without_root(mut command: Command, folder: &Path) -> Command {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(folder);
    command
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_place_without_rights_is_named() {
    let run = ShortRun::new();
    allow(run.folder(), 0o755);
    fs::create_dir(run.path("closed")).unwrap();
    allow(&run.path("closed"), 0o555);
    let out = robustseg(&["run", "short.yaml", "--out", "closed/run"]);
    fails(without_root(out, run.folder()), 1, &["closed/run", "Permission denied"]);

    let path = checkpoint(run.folder());
    allow(&path, 0o000);
    let evaluate = robustseg(&["evaluate", "short.yaml", "--checkpoint", "model.safetensors"]);
    fails(without_root(evaluate, run.folder()), 3, &["model.safetensors", "Permission denied"]);
    allow(&run.path("tiny.yaml"), 0o000);
    fails(without_root(robustseg(&["check", "short.yaml"]), run.folder()), 3, &["tiny.yaml"]);
    allow(&run.path("short.yaml"), 0o000);
    fails(without_root(robustseg(&["check", "short.yaml"]), run.folder()), 2, &["short.yaml"]);
}

#[test]
fn a_directory_that_became_read_only_keeps_its_state() {
    let run = ShortRun::new();
    run.finish("whole");
    assert!(run.kill_when("out", || run.happened("out", "checkpoint", 4)));
    allow(run.folder(), 0o755);
    fails(without_root(run.command("out"), run.folder()), 1, &["out/.lock", "Permission denied"]);
    run.finish("out");
    run.assert_equal("out", &run.results("whole"), "once read-only");
}

#[test]
fn links_in_circles_are_named() {
    let run = ShortRun::new();
    symlink("b", run.path("a")).unwrap();
    symlink("a", run.path("b")).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = robustseg(arguments);
        command.current_dir(run.folder());
        command
    };
    fails(command(&["run", "short.yaml", "--out", "a"]), 1, &["a"]);
    fails(command(&["run", "short.yaml", "--out", "a/b"]), 1, &["a/b"]);
    fails(command(&["check", "a"]), 2, &["a: "]);
    fails(command(&["evaluate", "short.yaml", "--checkpoint", "a"]), 3, &["checkpoint a: "]);
    fails(command(&["check", "short.yaml", "--set", "data.manifest=a"]), 3, &["a: "]);
    // A folder that contains itself.
    symlink(".", run.path("self")).unwrap();
    assert!(
        command(&["run", "self/self/short.yaml", "--out", "self/out"]).output().unwrap().status.success()
    );
}

#[test]
fn names_have_any_letters() {
    let run = ShortRun::new();
    let folder = run.path("Ордер № 5, “größe” 漢字\u{301}\n.yaml");
    fs::create_dir(&folder).unwrap();
    for file in ["short.yaml", "tiny.yaml"] {
        fs::copy(run.path(file), folder.join(file)).unwrap();
    }
    let out = folder.join("r n");
    for more in [&[][..], &["--resume"]] {
        let mut command = robustseg(&["run", "short.yaml"]);
        let output = command.args(more).arg("--out").arg(&out).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(out.join("report.html").is_file());
}
