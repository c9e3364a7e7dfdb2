//! The files of the repository agree: everything that documents name exists, and no file names what
//! exists on one machine only.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents whose links and commands have to be right.
fn documents() -> Vec<String> {
    let pages = std::fs::read_dir(root().join("docs")).expect("the pages");
    let pages = pages.map(|page| page.expect("a page").path());
    let pages = pages.filter(|page| page.extension().is_some_and(|ending| ending == "md"));
    let pages = pages.map(|page| format!("docs/{}", page.file_name().expect("a name").display()));
    let others = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/decisions/README.md"];
    others.map(String::from).into_iter().chain(pages).collect()
}

/// The files that git tracks or would track. Empty outside a checkout.
fn files() -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).expect("names in UTF-8").lines().map(Into::into).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn the_book_has_every_page_of_the_documentation() {
    let summary = read("docs/SUMMARY.md");
    let listed: Vec<&str> = summary
        .split("](")
        .skip(1)
        .filter_map(|part| part.split(')').next())
        .filter(|page| *page != "spec.md")
        .collect();
    for folder in ["docs", "docs/decisions"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root().join("docs")).expect("below docs").display().to_string();
            let is_text = path.extension().is_some_and(|ending| ending == "md");
            let is_page = is_text && !["SUMMARY.md", "spec.md"].contains(&name.as_str());
            assert!(!is_page || listed.contains(&name.as_str()), "docs/SUMMARY.md lacks {name}");
        }
    }
    for page in listed {
        assert!(root().join("docs").join(page).is_file(), "there is no docs/{page}");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let folder = root().join(&document).parent().expect("a folder").to_path_buf();
        for part in read(&document).split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            // The page of all keys is generated.
            let elsewhere = target.is_empty() || target.starts_with("http") || target == "spec.md";
            assert!(elsewhere || folder.join(target).exists(), "{document}: there is no {target}");
        }
    }
}

/// A page of the site has nothing but the pages and pictures below `docs`.
#[test]
fn links_of_the_book_stay_inside_it() {
    let docs = root().join("docs").canonicalize().expect("a folder");
    let pages = std::fs::read_dir(&docs)
        .expect("pages")
        .chain(std::fs::read_dir(docs.join("decisions")).expect("pages"));
    let pages = pages.map(|entry| entry.expect("an entry").path());
    for page in pages.filter(|page| page.extension().is_some_and(|ending| ending == "md")) {
        let text = std::fs::read_to_string(&page).expect("a page");
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") || target == "spec.md" {
                continue;
            }
            let path = page.parent().expect("a folder").join(target).canonicalize();
            let inside = path.is_ok_and(|path| path.starts_with(&docs));
            assert!(inside, "{}: {target} is no page of the book", page.display());
        }
    }
}

#[test]
fn every_decision_is_listed_and_names_files_that_exist() {
    let list = read("docs/decisions/README.md");
    for entry in std::fs::read_dir(root().join("docs/decisions")).expect("the decisions") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(name == "README.md" || list.contains(&format!("]({name})")), "{name} is not listed");
        for word in read(&format!("docs/decisions/{name}")).split('`').skip(1).step_by(2) {
            let path =
                ["crates/", "tests/", "scripts/", "fuzz/"].iter().any(|folder| word.starts_with(folder));
            assert!(!path || root().join(word).exists(), "{name}: there is no {word}");
        }
    }
}

/// The lines of the fenced `sh` blocks of a document.
fn commands(document: &str) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).filter(|line| !line.trim().is_empty()).map(Into::into).collect()
}

#[test]
fn commands_of_the_documents_exist() {
    let first = commands("README.md");
    for needed in ["cargo experiment experiments/synthetic_fastnewton.yaml", "cargo test --workspace"] {
        assert!(first.iter().any(|command| command == needed), "the README's command {needed}");
    }
    let commands: Vec<String> = documents().iter().flat_map(|document| commands(document)).collect();
    let just = read("justfile");
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        for pair in words.windows(2) {
            match *pair {
                ["just", recipe] => {
                    let known = just.lines().any(|line| {
                        line.strip_prefix(recipe).is_some_and(|rest| rest.starts_with([' ', ':']))
                    });
                    assert!(known, "{command}: the justfile has no {recipe}");
                }
                ["robustseg", name] => {
                    let commands = root().join("crates/driver/src/commands");
                    let files = [format!("{name}.rs"), format!("{name}/mod.rs")];
                    let exists = files.iter().any(|file| commands.join(file).exists());
                    assert!(exists, "{command}: there is no command {name}");
                }
                _ => {}
            }
        }
        for word in words.iter().filter(|word| {
            !word.contains('$')
                && ["experiments/", "data-manifests/", "scripts/", ".ci/"]
                    .iter()
                    .any(|folder| word.starts_with(folder))
        }) {
            assert!(root().join(word).exists(), "{command}: there is no {word}");
        }
    }
}

/// The concatenated Rust sources below `folder`.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => std::fs::read_to_string(&path).expect("UTF-8"),
            _ => String::new(),
        })
        .collect()
}

#[test]
fn faults_name_tests_and_fuzz_targets_that_exist() {
    let sources = sources(&root().join("crates"));
    let text = read("docs/faults.md");
    let mut tests = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let [_, _, _, names, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("not three cells: {row}")
        };
        let (named, targets) = names.split_once("fuzz target").unwrap_or((names, ""));
        let code = |text: &str| text.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
        for test in code(named) {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
            tests += 1;
        }
        for target in code(targets) {
            assert!(
                root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists(),
                "no fuzz target {target}"
            );
        }
    }
    assert!(tests > 50, "{tests} tests");
}

#[test]
fn every_crate_has_an_example_under_forty_lines() {
    for entry in std::fs::read_dir(root().join("crates")).expect("the crates") {
        let folder = entry.expect("a crate").path().join("examples");
        let examples =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let lines = |path: &Path| std::fs::read_to_string(path).expect("text").lines().count();
        let short =
            examples.filter(|example| lines(&example.as_ref().expect("an example").path()) < 40).count();
        assert!(short > 0, "{} has no example under 40 lines", folder.display());
    }
}

#[test]
fn nothing_names_what_only_one_machine_has() {
    // Assembled here so that this file does not contain them.
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("PLAN", ".md"),
        concat!("crates", ".io"),
        concat!("py", "pi.org"),
    ];
    let files = files();
    if files.is_empty() {
        println!("skipped: no git checkout");
    }
    for name in files.iter().filter(|name| *name != "Cargo.lock") {
        // Skips files that are not text (golden cases) and deleted files that git still tracks.
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            for word in forbidden {
                assert!(!line.contains(word), "{name}:{number} names {word}");
            }
        }
    }
}
