//! The registry of metrics beyond mean IoU and pixel accuracy.
//!
//! One line in [`METRICS`] adds a metric to `evaluation.json`, to the tables of reports, and to
//! tests. Its arithmetic belongs in `robustseg-metrics`.

use std::collections::BTreeMap;
use std::fmt;

use robustseg_metrics::{Objects, Overlap, Tercile, image_averaged_mean_iou, mean_and_deviation};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A score of a whole dataset.
pub struct Metric {
    /// Its key in `evaluation.json`.
    pub key: &'static str,
    /// Its title in tables.
    pub title: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    value: fn(&Forms<'_>) -> Option<f64>,
}

/// The registered metrics, in the order of tables.
pub static METRICS: &[Metric] = &[
    Metric {
        key: "image_averaged_miou",
        title: "image-averaged mean IoU",
        summary: "The mean over images of their own mean IoU.",
        value: |forms| image_averaged_mean_iou(forms.own_lowest_miou),
    },
    Metric {
        key: "image_averaged_pixel_accuracy",
        title: "image-averaged accuracy",
        summary: "The mean over images of the share of their own labelled pixels that are right: the accuracy (aAcc) \
                  that SEA's authors report.",
        value: |forms| {
            let accuracies: Vec<f64> =
                forms.lowest_accuracy.iter().filter_map(Overlap::pixel_accuracy).collect();
            mean_and_deviation(&accuracies).map(|(mean, _)| mean)
        },
    },
    Metric {
        key: "boundary_miou",
        title: "boundary mean IoU",
        summary: "Mean of the classes' boundary IoU over the dataset (Cheng et al. 2021, 2 % of the diagonal).",
        value: |forms| Overlap::sum(forms.classes, forms.boundaries).mean_iou(),
    },
    Metric {
        key: "small_object_miou",
        title: "mean IoU, small objects",
        summary: "Mean of the classes' IoU over the smallest third of their objects, the connected components of the \
                  labels.",
        value: |forms| forms.objects.mean_iou(Tercile::Small),
    },
    Metric {
        key: "medium_object_miou",
        title: "mean IoU, medium objects",
        summary: "The same over the middle third of the objects.",
        value: |forms| forms.objects.mean_iou(Tercile::Medium),
    },
    Metric {
        key: "large_object_miou",
        title: "mean IoU, large objects",
        summary: "The same over the largest third of the objects.",
        value: |forms| forms.objects.mean_iou(Tercile::Large),
    },
];

/// For each score, the worst form of every image, clean or attacked.
pub(crate) struct Forms<'a> {
    pub(crate) classes: usize,
    /// The objects in the forms that together have the lowest mean IoU over the dataset.
    pub(crate) objects: &'a Objects,
    /// The form of each image with its own lowest mean IoU, for images with a labelled pixel.
    pub(crate) own_lowest_miou: &'a [Overlap],
    /// The form of each image with its lowest pixel accuracy.
    pub(crate) lowest_accuracy: &'a [Overlap],
    /// The boundaries' overlaps in the forms that together have the lowest mean IoU of boundaries.
    pub(crate) boundaries: &'a [Overlap],
}

/// The values of the registered metrics by key. A metric that has no value is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricValues(BTreeMap<&'static str, f64>);

impl MetricValues {
    pub(crate) fn of(forms: &Forms<'_>) -> Self {
        let value = |metric: &'static Metric| Some((metric.key, (metric.value)(forms)?));
        Self(METRICS.iter().filter_map(value).collect())
    }

    /// The value of the metric `key`.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }
}

impl Serialize for MetricValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = METRICS.iter().filter_map(|metric| Some((metric.key, self.get(metric.key)?)));
        serializer.collect_map(known)
    }
}

impl<'de> Deserialize<'de> for MetricValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Registered)
    }
}

/// Reads the registered keys of a map and ignores all others.
struct Registered;

impl<'de> Visitor<'de> for Registered {
    type Value = MetricValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<MetricValues, A::Error> {
        let mut values = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            match METRICS.iter().find(|metric| metric.key == key) {
                Some(metric) => {
                    if let Some(value) = entries.next_value::<Option<f64>>()? {
                        values.insert(metric.key, value);
                    }
                }
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(MetricValues(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_keys_are_read_and_written_and_others_left_alone() -> serde_json::Result<()> {
        let text = r#"{"boundary_miou": 0.25, "image_averaged_miou": null, "later": [1], "other": "x"}"#;
        let values: MetricValues = serde_json::from_str(text)?;
        assert_eq!((values.get("boundary_miou"), values.get("image_averaged_miou")), (Some(0.25), None));
        assert_eq!(serde_json::to_string(&values)?, r#"{"boundary_miou":0.25}"#);
        Ok(())
    }

    #[test]
    fn keys_and_titles_are_unique() {
        for (index, metric) in METRICS.iter().enumerate() {
            let others = &METRICS[index + 1..];
            assert!(others.iter().all(|other| other.key != metric.key && other.title != metric.title));
            assert!(metric.summary.ends_with('.'), "{}", metric.key);
        }
    }
}
