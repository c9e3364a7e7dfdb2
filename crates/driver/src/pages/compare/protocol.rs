//! The protocol of an evaluation, which two runs must share to stand in one figure.

use robustseg_evaluation::{Curve, SourceRecord};
use robustseg_words::counted;

use crate::exit::BadData;
use crate::identity;
use crate::pages::names::title_of_curve;
use crate::pages::summary::RunSummary;
use crate::spec::Spec;

/// Requires that `run` was evaluated as `first` was: same classes, samples, content of images and
/// labels, protocol, window, attacks, epsilons and sources. Values that an older run did not record
/// are not compared.
///
/// # Errors
/// If the protocols differ; the error names both runs and the difference.
pub(super) fn require_same(first: &RunSummary, run: &RunSummary) -> anyhow::Result<()> {
    for ((what, one), (_, other)) in of(first)?.into_iter().zip(of(run)?) {
        if one != other && !one.is_empty() && !other.is_empty() {
            let (a, b) = (first.path.display(), run.path.display());
            return Err(BadData(format!(
                "{a} and {b} cannot be compared because they differ in their {what}: {one}, and {other}; compare \
                 runs that were evaluated alike, or evaluate one of them again"
            ))
            .into());
        }
    }
    Ok(())
}

/// The spec of `run`.
fn spec(run: &RunSummary) -> Result<&Spec, BadData> {
    run.spec.as_ref().ok_or_else(|| BadData(format!("{}: has no spec.yaml", run.path.display())))
}

/// The protocol as pairs of a noun and its value in words.
fn of(run: &RunSummary) -> Result<Vec<(&'static str, String)>, BadData> {
    let spec = spec(run)?;
    let split = spec.evaluation_split();
    let data = run.provenance.as_ref().map(|provenance| &provenance.data);
    let classes = run.provenance.as_ref().map(|provenance| identity::meaning_sha256(&provenance.identity));
    let classes = classes.flatten().map_or(String::new(), |hash| format!("SHA-256 {}", short(&hash)));
    // The last entry of a name belongs to the last evaluation.
    let known = data.and_then(|data| data.splits.iter().rfind(|known| known.name == split));
    let samples = known.map_or(String::new(), |split| {
        format!("{}, SHA-256 of the ids {}", counted(split.samples, "sample"), short(&split.ids_sha256))
    });
    let content = known.map(|split| split.content_sha256.as_str()).filter(|hash| !hash.is_empty());
    let content = content.map_or(String::new(), |hash| format!("SHA-256 {}", short(hash)));
    let limit = spec.evaluation.limit.map_or("all".into(), |limit| format!("at most {limit}"));
    let curves: Vec<String> = run.evaluation.curves.iter().map(curve).collect();
    let sources: Vec<String> = run.evaluation.sources.iter().map(source).collect();
    Ok(vec![
        ("classes or what stands for them in label files", classes),
        ("split", split.to_owned()),
        ("samples", samples),
        ("images or labels", content),
        ("limit of samples", limit),
        ("protocol", spec.evaluation.protocol.to_string()),
        ("window", format!("{:?}", spec.evaluation.window)),
        ("attacks", curves.join("; ")),
        ("sources of examples", sources.join("; ")),
    ])
}

fn source(SourceRecord { name, checkpoint, .. }: &SourceRecord) -> String {
    format!("{name}, SHA-256 {}", short(checkpoint.as_deref().unwrap_or("unknown")))
}

fn curve(curve: &Curve) -> String {
    let epsilons: Vec<String> = curve.points.iter().map(|point| point.epsilon.to_string()).collect();
    format!("{} at epsilon {}", title_of_curve(curve), epsilons.join(", "))
}

/// The beginning of a hash, long enough to tell two hashes apart.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
