//! After a power cut, everything that was not synced is gone, and the run resumes from the rest.
//!
//! A shim records the content of a folder at each sync of a run. From these records the tests
//! construct what a power cut after each sync may leave. Some file systems keep only synced names.
//! Others write names before the contents of files, so all names survive. In both cases a file has
//! the content of its last sync.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::robustseg;
use crate::shim::behind;
use crate::short_run::ShortRun;

/// Identifies a file or folder, whatever its names.
type Inode = u64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(Inode),
    Folder(Inode),
}

/// The names in each folder.
type Names = BTreeMap<Inode, BTreeMap<String, Entry>>;

/// The content of a folder by path: bytes for files, `None` for folders.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// A disk under a file system whose cache is lost with the power.
struct Disk {
    root: Inode,
    /// The present names.
    present: Names,
    /// The names of each folder at its last sync.
    synced: Names,
    /// The content of each file at its last sync.
    content: BTreeMap<Inode, Vec<u8>>,
    /// Open files keep their inode numbers from being reused.
    open: Vec<fs::File>,
}

impl Disk {
    /// The present content of the folder `root`, all of it synced.
    fn new(root: &Path) -> Self {
        let mut disk = Self {
            root: fs::metadata(root).unwrap().ino(),
            present: Names::new(),
            synced: Names::new(),
            content: BTreeMap::new(),
            open: Vec::new(),
        };
        disk.take(root);
        disk
    }

    fn take(&mut self, folder: &Path) {
        let mut names = BTreeMap::new();
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let inode = file.metadata().unwrap().ino();
            let entry = if file.path().is_dir() {
                self.take(&file.path());
                Entry::Folder(inode)
            } else {
                self.content.insert(inode, fs::read(file.path()).unwrap());
                self.open.push(fs::File::open(file.path()).unwrap());
                Entry::File(inode)
            };
            names.insert(file.file_name().into_string().unwrap(), entry);
        }
        self.synced.insert(fs::metadata(folder).unwrap().ino(), names);
    }

    /// Applies sync `number` of those recorded by `shims/disk.c`. Returns whether there was one.
    fn sync(&mut self, record: &Path, number: usize) -> bool {
        let Ok(text) = fs::read_to_string(record.join(format!("{number}.names"))) else { return false };
        let mut lines = text.lines();
        let inode: Inode = lines.next().unwrap().parse().unwrap();
        let mut folders = BTreeMap::new();
        self.present.clear();
        for line in lines {
            let [inode, kind, path]: [&str; 3] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
            let inode = inode.parse().unwrap();
            let entry = if kind == "d" { Entry::Folder(inode) } else { Entry::File(inode) };
            if kind == "d" {
                folders.insert(path, inode);
                self.present.insert(inode, BTreeMap::new());
            }
            if let Some((folder, name)) = path.rsplit_once('/') {
                self.present.get_mut(&folders[folder]).unwrap().insert(name.into(), entry);
            }
        }
        if let Some(names) = self.present.get(&inode) {
            self.synced.insert(inode, names.clone());
        } else {
            self.content.insert(inode, fs::read(record.join(format!("{number}.data"))).unwrap());
        }
        true
    }

    /// The content of the disk under `names`.
    fn tree(&self, names: &Names) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![(self.root, String::new())];
        while let Some((folder, path)) = folders.pop() {
            // A folder that was never synced is empty.
            for (name, entry) in names.get(&folder).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                match *entry {
                    Entry::File(inode) => {
                        tree.insert(path, Some(self.content.get(&inode).cloned().unwrap_or_default()));
                    }
                    Entry::Folder(inode) => {
                        tree.insert(path.clone(), None);
                        folders.push((inode, path));
                    }
                }
            }
        }
        tree
    }
}

/// Runs `command` and returns what power cuts during it may leave of `disk`. At its end nothing may
/// be lost any more.
fn cuts(run: &ShortRun, command: Command) -> Vec<Tree> {
    let (root, record) = (run.path("disk"), tempfile::tempdir().unwrap());
    let mut disk = Disk::new(&root);
    let mut command = behind("disk", run, command);
    let output = command.env("DISK_ROOT", &root).env("DISK_RECORD", record.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut cuts: Vec<Tree> = Vec::new();
    for number in 0.. {
        if !disk.sync(record.path(), number) {
            break;
        }
        for tree in [disk.tree(&disk.synced), disk.tree(&disk.present)] {
            if !cuts.contains(&tree) {
                cuts.push(tree);
            }
        }
    }
    let all = Disk::new(&root);
    let (left, all) = (disk.tree(&disk.synced), all.tree(&all.synced));
    for (path, content) in &all {
        assert!(left.get(path) == Some(content), "{path} is not on the disk when the run is over");
    }
    cuts
}

/// Requires the state of each checkpoint that the log mentions.
fn has_what_was_told(tree: &Tree) {
    let Some(Some(log)) = tree.get("run/events.jsonl") else { return };
    let events = log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let told = events.filter(|event: &Value| event["kind"] == "checkpoint");
    if let Some(told) = told.map(|event| event["step"].as_u64().unwrap()).max() {
        let state = tree["run/checkpoints/resume.safetensors"].as_ref().unwrap();
        let (_, header) = SafeTensors::read_metadata(state).unwrap();
        let state: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["resume"]).unwrap();
        assert!(state["state"]["step"].as_u64().unwrap() >= told, "the state of step {told} is lost");
    }
}

/// Requires that a run resumes from each of `trees` and ends as `expected`.
fn go_on(run: &ShortRun, trees: &[Tree], expected: &BTreeMap<String, Vec<u8>>) {
    let next = Mutex::new(trees.iter().enumerate());
    let work = || {
        loop {
            let Some((number, tree)) = next.lock().unwrap().next() else { break };
            let (cut, out) = (run.path(&format!("cut {number}")), format!("cut {number}/run"));
            for (path, content) in tree {
                let path = cut.join(path);
                let folder = if content.is_some() { path.parent().unwrap() } else { &path };
                fs::create_dir_all(folder).unwrap();
                if let Some(content) = content {
                    fs::write(path, content).unwrap();
                }
            }
            run.finish(&out);
            run.assert_equal(&out, expected, &out);
            fs::remove_dir_all(cut).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
}

#[test]
fn a_power_cut_loses_nothing_that_was_reported() {
    // Two states per epoch, and few figures.
    let set = ["training.epochs=1", "evaluation.curves=[]", "evaluation.examples=0"];
    let run = ShortRun::with(&set);
    run.finish("whole");
    let expected = run.results("whole");
    fs::create_dir(run.path("disk")).unwrap();
    let trees = cuts(&run, run.command("disk/run"));
    trees.iter().for_each(has_what_was_told);
    go_on(&run, &trees, &expected);
    // The same for a new run that overwrites the existing one.
    let mut anew = robustseg(&["run", "short.yaml", "--overwrite", "--out", "disk/run"]);
    anew.args(set.iter().flat_map(|set| ["--set", set])).current_dir(run.folder());
    let anew = cuts(&run, anew);
    go_on(&run, &anew, &expected);
    println!("{} power cuts in a run, {} in one from the start over it", trees.len(), anew.len());
}
