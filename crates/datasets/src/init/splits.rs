//! The splits of a dataset: those of its lists, those of its folders, or a part each.

use std::collections::BTreeMap;

use super::lists::List;
use super::pairing::Pairing;
use super::split_words::canonical;
use crate::split::Split;

/// The percentage of samples to train on where nothing says which.
const TO_TRAIN: u8 = 80;

/// The splits of `lists`.
pub(super) fn of_lists(
    lists: Vec<List>,
    seen: &mut Vec<String>,
    guesses: &mut Vec<String>,
) -> BTreeMap<String, Split> {
    let names: Vec<&str> = lists.iter().map(|list| list.path.as_str()).collect();
    seen.push(format!("splits by the lists {}", names.join(", ")));
    let split = |List { path, split, from }| {
        let from = from.filter(|from| *from != split);
        (split, Split { file: Some(path.into()), from, ..Split::default() })
    };
    complete(lists.into_iter().map(split).collect(), guesses)
}

/// The splits of `lists`, else of the folders of `pairing`, else two parts of all samples.
pub(super) fn of_folders(
    pairing: &Pairing,
    lists: Vec<List>,
    seen: &mut Vec<String>,
    guesses: &mut Vec<String>,
) -> BTreeMap<String, Split> {
    if !lists.is_empty() {
        return of_lists(lists, seen, guesses);
    }
    let mut splits = BTreeMap::new();
    for word in pairing.ids.keys() {
        let word = word.as_deref().unwrap_or("train");
        let name = canonical(word).filter(|name| !splits.contains_key(*name)).unwrap_or(word);
        let from = (name != word).then(|| word.to_owned());
        splits.insert(name.to_owned(), Split { from, ..Split::default() });
    }
    if pairing.ids.keys().any(Option::is_some) {
        seen.push("splits by folders".into());
    }
    complete(splits, guesses)
}

/// Makes sure that there is a split to train on and one to validate on, if that is clear.
fn complete(mut splits: BTreeMap<String, Split>, guesses: &mut Vec<String>) -> BTreeMap<String, Split> {
    if splits.len() == 1
        && !splits.contains_key("train")
        && let Some((name, split)) = splits.pop_first()
    {
        guesses.push(format!(
            "`{name}` is the only split, so it is divided into one to train on and one to validate on"
        ));
        let from = split.from.clone().or(Some(name));
        splits.insert("train".into(), Split { from, ..split });
    }
    let has_val = splits.contains_key("val");
    let Some(train) = splits.get_mut("train") else {
        let names: Vec<&str> = splits.keys().map(String::as_str).collect();
        guesses.push(format!(
            "no split is named train; name the one to train on as data.train_split in the spec: {}",
            names.join(", ")
        ));
        return splits;
    };
    if !has_val {
        let from = train.from.clone().or_else(|| Some("train".into()));
        let val = Split { percent: Some([TO_TRAIN, 100]), from, ..train.clone() };
        train.percent = Some([0, TO_TRAIN]);
        splits.insert("val".into(), val);
        guesses.push(format!(
            "nothing says which samples to validate on: it is a fixed draw of {} % of those to train on, by a hash of their \
             names; if neighbours show one scene, such as frames of a video, write lists",
            100 - TO_TRAIN
        ));
    }
    splits
}
