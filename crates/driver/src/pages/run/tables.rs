//! All tables of a run, by the names of their files.

use robustseg_attacks::Norm;

use super::robustness::{MEAN_IOU, PIXEL_ACCURACY, by_epsilon, further};
use super::{classes, scores};
use crate::draw::table::Table;
use crate::pages::confusions::Confusions;
use crate::pages::summary::RunSummary;
use crate::pages::tables::scoped;

/// The tables of `run` with at least one row, by the names of their files.
pub(super) fn all(run: &RunSummary, confusions: Option<&Confusions>) -> Vec<(&'static str, Table)> {
    let mut tables = vec![
        ("scores", scores::points(run)),
        ("mean_iou", by_epsilon(run, &MEAN_IOU, Norm::Linf)),
        ("pixel_accuracy", by_epsilon(run, &PIXEL_ACCURACY, Norm::Linf)),
        ("mean_iou_l2", by_epsilon(run, &MEAN_IOU, Norm::L2)),
        ("pixel_accuracy_l2", by_epsilon(run, &PIXEL_ACCURACY, Norm::L2)),
        ("metrics", further(run)),
        ("classes", classes::scores(run, confusions)),
        ("worst_case_over", scores::candidates(run)),
        ("smallest", scores::smallest(run)),
        ("passes", scores::passes(run)),
    ];
    if let Some(found) = confusions {
        tables.push(("confusion", classes::counts(run, &found.clean)));
        tables.extend(
            found.attacked.iter().map(|(_, matrix)| ("confusion_attacked", classes::counts(run, matrix))),
        );
    }
    let tables = tables.into_iter().filter(|(_, table)| !table.rows.is_empty());
    tables.map(|(name, table)| (name, scoped(table, &run.evaluation.scope))).collect()
}
