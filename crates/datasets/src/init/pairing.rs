//! Which files are images, and which are their label maps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::folder::{Tree, extension};
use super::joined;
use super::labels::{Kind, kind_of};
use super::split_words::template;

/// The characters before a suffix.
const SEPARATORS: [char; 4] = ['.', '_', '-', ' '];

/// Files of each kind that are looked at.
const LOOKED_AT: usize = 3;

/// The names in the folders of one template, by the name of the split in the folder's path.
type Place = BTreeMap<Option<String>, Vec<String>>;

/// Images and their label maps.
pub(super) struct Pairing {
    /// Folder, with `{split}` for the split's name, and suffix of the images.
    pub(super) images: (String, String),
    /// Folder and suffix of the label maps.
    pub(super) labels: (String, String),
    /// The ids of each split's samples, by the split's name in the folder, if it has one.
    pub(super) ids: BTreeMap<Option<String>, BTreeSet<String>>,
    /// Images without a label map.
    pub(super) unlabelled: usize,
    /// Other label maps of the same images.
    others: Vec<String>,
    kind: Kind,
}

/// A possible pairing before its label maps are looked at.
struct Candidate {
    images: (String, String),
    labels: (String, String),
    ids: BTreeMap<Option<String>, BTreeSet<String>>,
    images_in_all: usize,
}

impl Candidate {
    fn count(&self) -> usize {
        self.ids.values().map(BTreeSet::len).sum()
    }

    fn files(&self, (folder, suffix): &(String, String)) -> Vec<std::path::PathBuf> {
        let of_split = |(split, ids): (&Option<String>, &BTreeSet<String>)| {
            let folder = folder.replace("{split}", split.as_deref().unwrap_or(""));
            ids.iter().map(|id| joined(&folder, &format!("{id}{suffix}"))).collect::<Vec<_>>()
        };
        self.ids.iter().flat_map(of_split).collect()
    }
}

impl Pairing {
    /// The pairing in `tree` with the most samples.
    ///
    /// # Errors
    /// What was found instead.
    pub(super) fn find(tree: &Tree) -> Result<Self, String> {
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for (folder, names) in &tree.pictures {
            let (template, split) = template(folder);
            places.entry(template).or_default().insert(split, names.clone());
        }
        let mut candidates = Vec::new();
        for (images, place) in &places {
            for suffix in suffixes(place) {
                for (labels, label_place) in &places {
                    add((images, &suffix, place), (labels, label_place), &mut candidates);
                }
            }
        }
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.count()));
        let mut kinds = Kinds { root: &tree.root, known: BTreeMap::new() };
        let mut fitting: Vec<(Candidate, Kind)> = Vec::new();
        for candidate in candidates {
            // A map is no image, and a photograph is no map.
            let kind = kinds.of(&candidate, &candidate.labels);
            if kind != Kind::NoLabels && kinds.of(&candidate, &candidate.images) == Kind::NoLabels {
                fitting.push((candidate, kind));
            }
        }
        // Values are safer than colours, which may be a drawing of them.
        let rank = |(candidate, kind): &(Candidate, Kind)| (std::cmp::Reverse(candidate.count()), *kind);
        fitting.sort_by_key(rank);
        let mut fitting = fitting.into_iter();
        let (best, kind) = fitting.next().ok_or_else(|| nothing(tree))?;
        let shown =
            |(folder, suffix): &(String, String)| joined(folder, &format!("*{suffix}")).display().to_string();
        let mut others: Vec<String> = fitting
            .filter(|(other, _)| other.images == best.images && other.labels != best.labels)
            .map(|(other, _)| format!("{} ({})", shown(&other.labels), other.count()))
            .collect();
        others.dedup();
        let unlabelled = best.images_in_all - best.count();
        Ok(Self { images: best.images, labels: best.labels, ids: best.ids, unlabelled, others, kind })
    }

    /// Says what was seen and guessed.
    pub(super) fn tell(&self, seen: &mut Vec<String>, guesses: &mut Vec<String>) {
        let shown =
            |(folder, suffix): &(String, String)| joined(folder, &format!("*{suffix}")).display().to_string();
        let what = match self.kind {
            Kind::Colours => ", which tell classes by colour",
            _ => "",
        };
        seen.push(format!("images {}, labels {}{what}", shown(&self.images), shown(&self.labels)));
        if !self.others.is_empty() {
            let others = self.others.join(", ");
            guesses.push(format!("other label files fit as well, and are left: {others}"));
        }
        if self.unlabelled > 0 {
            let images = robustseg_words::counted(self.unlabelled, "image");
            guesses.push(format!("{images} without a label file: left out"));
        }
    }
}

/// Adds the ways to take the files of `labels` as label maps of the images with the suffix.
fn add(
    (images, suffix, place): (&str, &str, &Place),
    (labels, label_place): (&str, &Place),
    candidates: &mut Vec<Candidate>,
) {
    let is_same = images == labels;
    let mut found: BTreeMap<String, BTreeMap<Option<String>, BTreeSet<String>>> = BTreeMap::new();
    let mut stems_of: BTreeMap<&Option<String>, BTreeSet<&str>> = BTreeMap::new();
    for (split, names) in place {
        let Some(label_names) = label_place.get(split) else { continue };
        let stems: BTreeSet<&str> = names
            .iter()
            .filter_map(|name| name.strip_suffix(suffix))
            .filter(|stem| !stem.is_empty())
            .collect();
        for name in label_names.iter().filter(|name| extension(name) == "png") {
            let ends: Vec<usize> = name.match_indices(SEPARATORS).map(|(at, _)| at).rev().collect();
            let fits = |at: &&usize| stems.contains(&name[..**at]) && !(is_same && name[**at..] == *suffix);
            if let Some(at) = ends.iter().find(fits) {
                let of_suffix = found.entry(name[*at..].to_owned()).or_default();
                of_suffix.entry(split.clone()).or_default().insert(name[..*at].to_owned());
            }
        }
        stems_of.insert(split, stems);
    }
    for (label_suffix, ids) in found {
        // In one folder, the label maps have the images' extension too.
        let is_label = |stem: &&&str| is_same && format!("{stem}{suffix}").ends_with(&label_suffix);
        let images_in_all =
            ids.keys().map(|split| stems_of[split].iter().filter(|stem| !is_label(stem)).count()).sum();
        let count: usize = ids.values().map(BTreeSet::len).sum();
        if 2 * count >= images_in_all || count >= 20 {
            candidates.push(Candidate {
                images: (images.to_owned(), suffix.to_owned()),
                labels: (labels.to_owned(), label_suffix),
                ids,
                images_in_all: images_in_all.max(count),
            });
        }
    }
}

/// The suffixes that the images of a place may have: their extensions, and what all names of an
/// extension have in common after a separator.
fn suffixes(place: &Place) -> BTreeSet<String> {
    let mut by_extension: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in place.values().flatten() {
        let at = name.rfind('.').expect("a picture has an extension");
        by_extension.entry(&name[at..]).or_default().push(name);
    }
    let mut suffixes = BTreeSet::new();
    for (extension, names) in by_extension {
        suffixes.insert(extension.to_owned());
        let mut common = names[0];
        for name in &names {
            while !name.ends_with(common) {
                let mut rest = common.chars();
                rest.next();
                common = rest.as_str();
            }
        }
        if names.len() > 1
            && let Some(at) = common.find(SEPARATORS)
        {
            suffixes.insert(common[at..].to_owned());
        }
    }
    suffixes
}

/// The kinds of files that were looked at.
struct Kinds<'a> {
    root: &'a Path,
    known: BTreeMap<(String, String), Kind>,
}

impl Kinds<'_> {
    /// The kind of most of a few files of the candidate's `place`.
    fn of(&mut self, candidate: &Candidate, place: &(String, String)) -> Kind {
        if let Some(kind) = self.known.get(place) {
            return *kind;
        }
        let files = candidate.files(place);
        let step = files.len().div_ceil(LOOKED_AT).max(1);
        let kinds: Vec<Kind> =
            files.iter().step_by(step).map(|file| kind_of(&self.root.join(file))).collect();
        let most = |kind: &Kind| kinds.iter().filter(|other| *other == kind).count();
        let kind = kinds.iter().copied().max_by_key(most).unwrap_or(Kind::NoLabels);
        self.known.insert(place.clone(), kind);
        kind
    }
}

/// The message where no pairing is found.
fn nothing(tree: &Tree) -> String {
    let found: Vec<String> = tree
        .pictures
        .iter()
        .take(8)
        .map(|(folder, names)| {
            let folder = if folder.is_empty() { "." } else { folder };
            format!("{folder} ({}, such as {})", robustseg_words::counted(names.len(), "picture"), names[0])
        })
        .collect();
    if found.is_empty() {
        return "there are no JPEG or PNG files in it".into();
    }
    let more = if tree.pictures.len() > found.len() { ", and more" } else { "" };
    format!(
        "no images with label maps: a label map is a PNG of gray values, palette indices or few colours, named after its image; \
         found {}{more}",
        found.join(", ")
    )
}
