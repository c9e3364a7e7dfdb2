//! From the observations of a dataset to its scores and records.

use robustseg_attacks::{Cost, Norm, Settings};
use robustseg_metrics::{Objects, Overlap};

use crate::Result;
use crate::example::{Example, ExampleAttack};
use crate::observation::{ImageObservations, Observation};
use crate::record::{
    CandidateScores, Curve, Evaluation, ImageRecord, Passes, Point, Scope, Scores, Smallest, SourceRecord,
    Warning,
};
use crate::scores::scores;
use crate::tally::{Exhibited, Tally, Threat};
use crate::warnings::{Measured, inexact_gradient, warnings};
use crate::worst_case::worst_case;

/// The results of an evaluation.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The scores.
    pub evaluation: Evaluation,
    /// The records of single images.
    pub images: Vec<ImageRecord>,
    /// The examples, worst first.
    pub examples: Vec<Example>,
    /// The attack that produced them. `None` if there is no curve.
    pub example_attack: Option<ExampleAttack>,
}

impl Tally<'_> {
    /// The observations of each image at `point` of a threat's curve.
    pub(crate) fn observed(&self, threat: usize, point: usize) -> Vec<Vec<&Observation>> {
        self.images.iter().map(|image| image.attacked[threat][point].iter().collect()).collect()
    }

    fn largest_epsilon(&self) -> f64 {
        let epsilons = self.threats.iter().flat_map(|threat| threat.curve.epsilons());
        epsilons.copied().fold(0.0, f64::max)
    }

    /// The scores of all images.
    pub(crate) fn evaluation(&self) -> Result<Evaluation> {
        let clean = self.clean()?;
        let curves: Vec<Curve> =
            (0..self.threats.len()).map(|index| self.curve(index)).collect::<Result<_>>()?;
        let inexact = self.gradient.and_then(|check| inexact_gradient(check, self.largest_epsilon()));
        let warnings = inexact.into_iter().chain(self.warnings(clean.miou, &curves)).collect();
        let worst_case = self.worst_case()?;
        let objects = Objects::sum(self.classes, self.images.iter().map(|image| &image.clean.objects));
        let (images, object_edges) = (Some(self.images.len()), Some(objects.edges()));
        let scope = Scope { images, object_edges, ..Scope::default() };
        let source =
            |source: &String| SourceRecord { name: source.clone(), checkpoint: None, training: None };
        let mut sources: Vec<SourceRecord> =
            self.threats.iter().filter_map(|threat| threat.source.as_ref()).map(source).collect();
        sources.dedup();
        let (checkpoint, training) = (None, None);
        Ok(Evaluation { clean, curves, worst_case, warnings, checkpoint, sources, training, scope })
    }

    /// The scores without an attack.
    pub(crate) fn clean(&self) -> Result<Scores> {
        scores(&self.images.iter().map(|image| vec![&image.clean]).collect::<Vec<_>>())
    }

    fn warnings(&self, clean_miou: f64, curves: &[Curve]) -> Vec<Warning> {
        let measured: Vec<Measured<'_>> = curves
            .iter()
            .enumerate()
            .map(|(index, curve)| Measured {
                config: self.threats[index].curve,
                source: self.threats[index].source.as_deref(),
                points: &curve.points,
                observed: (0..curve.points.len()).map(|point| self.observed(index, point)).collect(),
            })
            .collect();
        let clean: Vec<&Observation> = self.images.iter().map(|image| &image.clean).collect();
        warnings(&clean, clean_miou, &measured)
    }

    fn curve(&self, index: usize) -> Result<Curve> {
        let Threat { curve: config, source } = &self.threats[index];
        let names = config.attack().candidates().names();
        let point = |(point, &epsilon): (usize, &f64)| {
            let observed = self.observed(index, point);
            let candidate = |(place, name): (usize, &String)| {
                let alone =
                    Overlap::sum(self.classes, observed.iter().map(|observed| &observed[place].overlap));
                let (miou, pixel_accuracy) = (alone.mean_iou()?, alone.pixel_accuracy()?);
                Some(CandidateScores { name: name.clone(), miou, pixel_accuracy })
            };
            let attacked = epsilon > 0.0;
            let candidates = names.iter().filter(|_| attacked).enumerate().filter_map(candidate).collect();
            let aim = config.attack().share_to_get_wrong().filter(|_| attacked);
            let smallest = aim.and_then(|wrong| Smallest::of(wrong, &observed));
            Ok(Point { epsilon, scores: scores(&observed)?, candidates, smallest })
        };
        let points = config.epsilons().iter().enumerate().map(point).collect::<Result<_>>()?;
        let images = self.images.len().max(1) as f64;
        let Cost { forward, backward } = self.costs[index];
        let passes = Passes { forward: forward as f64 / images, backward: backward as f64 / images };
        Ok(Curve {
            attack: config.name().into(),
            parameters: config.attack().settings(),
            source: source.clone(),
            points,
            passes: Some(passes),
        })
    }

    /// The worst case over all curves in l-infinity balls, at each of their epsilons above 0.
    fn worst_case(&self) -> Result<Vec<Point>> {
        let clean: Vec<&Observation> = self.images.iter().map(|image| &image.clean).collect();
        let of_one_norm = |(_, threat): &(usize, &Threat<'_>)| threat.curve.attack().norm() == Norm::Linf;
        let points = self.threats.iter().enumerate().filter(of_one_norm).flat_map(|(index, threat)| {
            let epsilons = threat.curve.epsilons().iter().enumerate();
            epsilons.map(move |(point, &epsilon)| (epsilon, self.observed(index, point)))
        });
        worst_case(&clean, points.collect())
    }

    /// The lines of `images.jsonl`. Each image has one line for its clean form, then one per curve
    /// and epsilon above 0.
    pub(crate) fn records(&self) -> Vec<ImageRecord> {
        let record = |id: &str,
                      threat: Option<&Threat<'_>>,
                      epsilon,
                      candidate: Option<&String>,
                      observation: &Observation| {
            ImageRecord {
                id: id.into(),
                attack: threat.map(|threat| threat.curve.name().into()),
                parameters: threat.map_or_else(Settings::default, |threat| threat.curve.attack().settings()),
                source: threat.and_then(|threat| threat.source.clone()),
                epsilon,
                candidate: candidate.cloned(),
                loss: observation.loss,
                largest_perturbation: observation.largest,
                confusion: observation.pairs.clone(),
            }
        };
        let mut records = Vec::new();
        for ImageObservations { id, clean, attacked } in &self.images {
            records.push(record(id, None, 0.0, None, clean));
            for (threat, points) in self.threats.iter().zip(attacked) {
                let curve = threat.curve;
                let names = curve.attack().candidates().names();
                let points = curve.epsilons().iter().zip(points).filter(|(epsilon, _)| **epsilon > 0.0);
                for (&epsilon, observations) in points {
                    let observations = observations.iter().enumerate();
                    records.extend(observations.map(|(place, observation)| {
                        record(id, Some(threat), epsilon, names.get(place), observation)
                    }));
                }
            }
        }
        records
    }

    /// The results.
    pub(crate) fn evaluated(self) -> Result<Evaluated> {
        let (evaluation, images) = (self.evaluation()?, self.records());
        let example_attack = self.exhibited.map(|Exhibited { threat, point }| {
            let curve = self.threats[threat].curve;
            let (attack, parameters) = (curve.name().into(), curve.attack().settings());
            ExampleAttack { attack, parameters, epsilon: curve.epsilons()[point] }
        });
        Ok(Evaluated { evaluation, images, examples: self.worst.into_examples(), example_attack })
    }
}
