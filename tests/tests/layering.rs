//! Which crate may import which: compares the table of ARCHITECTURE.md with `cargo metadata` and
//! the manifests.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a crate may use.
struct Room {
    name: &'static str,
    /// The level of the crate. Imports point to lower levels.
    level: usize,
    imports: &'static [&'static str],
    candle: bool,
}

const ROOMS: [Room; 15] = [
    Room { name: "files", level: 0, imports: &[], candle: false },
    Room { name: "words", level: 0, imports: &[], candle: false },
    Room { name: "trust", level: 0, imports: &[], candle: false },
    Room { name: "pytorch", level: 0, imports: &[], candle: false },
    Room { name: "random", level: 0, imports: &[], candle: false },
    Room { name: "ranks", level: 0, imports: &[], candle: false },
    Room { name: "metrics", level: 0, imports: &[], candle: false },
    Room { name: "datasets", level: 1, imports: &["files", "random", "trust", "words"], candle: false },
    Room { name: "ops", level: 1, imports: &["ranks"], candle: true },
    Room {
        name: "models",
        level: 2,
        imports: &["files", "ops", "random", "ranks", "trust", "words"],
        candle: true,
    },
    Room { name: "attacks", level: 2, imports: &["ops", "random", "words"], candle: true },
    Room { name: "published", level: 3, imports: &["files", "models", "pytorch", "words"], candle: false },
    Room {
        name: "evaluation",
        level: 3,
        imports: &["attacks", "datasets", "files", "metrics", "models", "ops", "random", "ranks", "words"],
        candle: true,
    },
    Room {
        name: "training",
        level: 4,
        imports: &[
            "attacks",
            "datasets",
            "evaluation",
            "files",
            "metrics",
            "models",
            "ops",
            "random",
            "ranks",
            "words",
        ],
        candle: true,
    },
    Room {
        name: "driver",
        level: 5,
        imports: &[
            "attacks",
            "datasets",
            "evaluation",
            "files",
            "metrics",
            "models",
            "ops",
            "published",
            "random",
            "ranks",
            "training",
            "words",
        ],
        candle: true,
    },
];

/// Dependencies that only some crates may use, and the reason.
const HOMES: [(&str, &[&str], &str); 17] = [
    ("anyhow", &["driver"], "libraries have an error enum each"),
    ("clap", &["driver"], "the command line"),
    ("indicatif", &["driver"], "formats for people"),
    ("tracing-subscriber", &["driver"], "libraries only emit"),
    ("signal-hook", &["driver"], "the process"),
    ("serde-saphyr", &["datasets", "driver", "files"], "YAML: manifests and specs"),
    ("sha2", &["files"], "one way to hash"),
    ("png", &["datasets", "driver"], "pixel files"),
    ("md-5", &["datasets"], "archives of datasets, behind the feature fetch"),
    ("tar", &["datasets"], "archives of datasets, behind the feature fetch"),
    ("ureq", &["datasets", "trust"], "archives of datasets, behind the feature fetch, and whom to trust"),
    ("rustls", &["trust"], "whom to trust"),
    ("zune-jpeg", &["datasets"], "pixel files"),
    ("libloading", &["ops", "ranks"], "NCCL and MPI, which a machine may lack"),
    ("gemm", &["ops"], "matrix products are behind an operation"),
    ("hf-hub", &["models"], "pretrained weights"),
    (
        "safetensors",
        &["driver", "evaluation", "files", "models", "published", "training"],
        "weights and cases",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// The dependencies of each crate under `crates/`, without those of its tests, by the crate's short
/// name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {error}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let array = |value: &Value| value.as_array().expect("an array").clone();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let used = |package: &Value| {
        let all = array(&package["dependencies"]).into_iter();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    let packages = array(&metadata["packages"]).into_iter();
    let crates = packages.filter(|package| package["name"] != "robustseg-tests");
    crates
        .map(|package| {
            let name = text(&package["name"]);
            let short = name.strip_prefix("robustseg-").unwrap_or_else(|| panic!("package {name}"));
            (short.to_owned(), used(&package))
        })
        .collect()
}

#[test]
fn every_crate_has_a_room() {
    let crates: Vec<String> = dependencies().into_keys().collect();
    let mut rooms = ROOMS.map(|room| room.name);
    rooms.sort_unstable();
    assert_eq!(crates, rooms);
}

#[test]
fn imports_point_down() {
    let dependencies = dependencies();
    for room in &ROOMS {
        let used = dependencies[room.name].iter().filter_map(|name| name.strip_prefix("robustseg-"));
        for import in used {
            assert!(room.imports.contains(&import), "{} imports {import}", room.name);
        }
        for import in room.imports {
            let other = ROOMS.iter().find(|other| other.name == *import).expect("a room");
            assert!(other.level < room.level, "{} imports {import} of level {}", room.name, other.level);
        }
    }
}

#[test]
fn candle_and_others_stay_in_their_rooms() {
    let dependencies = dependencies();
    for room in &ROOMS {
        for name in &dependencies[room.name] {
            let candle = name.starts_with("candle");
            assert!(room.candle || !candle, "{} uses {name} but is to be useful without candle", room.name);
            if let Some((_, homes, why)) = HOMES.iter().find(|(dependency, ..)| dependency == name) {
                assert!(
                    homes.contains(&room.name),
                    "{} uses {name}, which is for {homes:?}: {why}",
                    room.name
                );
            }
        }
    }
    for (name, homes, _) in HOMES {
        let used = homes.iter().all(|home| dependencies[*home].contains(name));
        assert!(used, "{name} is not used by all of {homes:?}; take it off the table");
    }
}

/// A crate that imports `datasets` for its readers does not get a network client with it.
#[test]
fn datasets_without_its_features_knows_no_network() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "robustseg-datasets",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(has("zune-jpeg"), "{tree}");
    for name in ["ureq", "rustls", "tar", "md-5"] {
        assert!(!has(name), "robustseg-datasets has {name} without its feature fetch");
    }
}

/// Requires that every crate takes the workspace's lints, which the compiler then enforces. `ops` and
/// `ranks` have their own, and `ranks` allows unsafe code in one folder.
#[test]
fn only_ops_and_the_calls_of_mpi_may_be_unsafe() {
    let manifest = |folder: &Path| std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    assert!(
        manifest(&root())
            .contains("[workspace.lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"forbid\"")
    );
    for room in ROOMS.iter().filter(|room| !["ops", "ranks"].contains(&room.name)) {
        let takes = manifest(&root().join("crates").join(room.name)).contains("[lints]\nworkspace = true");
        assert!(takes, "{} does not take the lints", room.name);
    }
}

#[test]
fn ranks_is_unsafe_in_its_folder_mpi_alone() {
    let all = sources(&root().join("crates/ranks/src"));
    for (path, text) in &all {
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe_code"];
        let safe = !words.iter().any(|word| text.contains(word));
        assert!(safe || path.starts_with("mpi"), "{}", path.display());
    }
    assert!(all.iter().any(|(path, text)| path.starts_with("mpi") && text.contains("SAFETY")));
}

/// The Rust files below `folder`, by their relative paths, with their texts.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder of sources") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                found.push((path.strip_prefix(folder).expect("below the folder").into(), text));
            }
        }
    }
    found
}

#[test]
fn operations_know_neither_devices_nor_candles_traits() {
    let all = sources(&root().join("crates/ops/src"));
    assert!(all.iter().any(|(path, _)| path.starts_with("cuda")));
    for (path, text) in &all {
        let forbidden: &[&str] = match path.to_str() {
            Some("adapter.rs" | "candle_part.rs" | "in_place.rs" | "operation.rs") => &[],
            _ if path.starts_with("cpu") => &["crate::cuda", "CustomOp", "InplaceOp"],
            _ if path.starts_with("cuda") => &["crate::cpu", "CustomOp", "InplaceOp"],
            _ => &["CpuStorage", "CudaStorage", "impl CustomOp", "impl InplaceOp"],
        };
        for word in forbidden {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
}
