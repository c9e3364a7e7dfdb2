//! Events as single named numbers, for TensorBoard and CSV.

use robustseg_training::Event;

use super::events::LoggedEvent;

/// The numbers of an event.
pub(crate) struct Scalars {
    pub(crate) step: u64,
    epoch: u64,
    /// The numbers by their names in TensorBoard and `tables/scalars.csv`.
    pub(crate) values: Vec<(&'static str, f64)>,
}

/// The numbers of `event`. Events of other kinds have none.
pub(crate) fn scalars(event: &Event) -> Option<Scalars> {
    let (step, epoch, values) = match event {
        Event::Step { epoch, record } => {
            let share = record.attacked as f64 / record.images.max(1) as f64;
            let values = vec![
                ("train/loss", Some(record.loss.into())),
                ("train/penalty", record.penalty),
                ("train/learning_rate", Some(record.learning_rate)),
                ("train/attacked_share", Some(share)),
                ("train/epsilon_mean", record.epsilon_mean),
                ("time/step_seconds", Some(record.seconds.total())),
            ];
            (record.step, *epoch, values)
        }
        Event::Validation { step, epoch, miou, pixel_accuracy, attacked_miou, .. } => {
            let values = vec![
                ("validation/mean_iou", Some(*miou)),
                ("validation/pixel_accuracy", Some(*pixel_accuracy)),
                ("validation/attacked_mean_iou", *attacked_miou),
            ];
            (*step, *epoch, values)
        }
        Event::Monitor { step, epoch, reading, .. } => {
            let values = vec![
                ("monitor/clean_mean_iou", Some(reading.clean.miou)),
                ("monitor/fgsm_mean_iou", Some(reading.fgsm.miou)),
                ("monitor/bim_mean_iou", Some(reading.bim.miou)),
                ("monitor/cosine", reading.cosine),
                ("monitor/linearity", reading.linearity),
            ];
            (*step, *epoch, values)
        }
        _ => return None,
    };
    let values = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Some(Scalars { step, epoch, values })
}

/// The numbers of all `events` as comma-separated values, one in a line.
pub(crate) fn csv<'a>(events: impl IntoIterator<Item = &'a LoggedEvent>) -> String {
    let mut text = String::from("step,epoch,time_s,wall_time,name,value\n");
    for LoggedEvent { event, time_s, wall_time } in events {
        let Some(Scalars { step, epoch, values }) = scalars(event) else { continue };
        for (name, value) in values {
            text += &format!("{step},{epoch},{time_s},{wall_time},{name},{value}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validation_is_two_lines() {
        let (step, epoch, best, seconds) = (7, 1, true, 1.0);
        let (miou, pixel_accuracy, attacked_miou) = (0.5, 0.75, None);
        let event = Event::Validation { step, epoch, miou, pixel_accuracy, attacked_miou, best, seconds };
        let events = [
            LoggedEvent { event, time_s: 2.5, wall_time: 100.0 },
            LoggedEvent { event: Event::Checkpoint { step, epoch }, time_s: 3.0, wall_time: 101.0 },
        ];
        let expected = "step,epoch,time_s,wall_time,name,value\n\
                        7,1,2.5,100,validation/mean_iou,0.5\n\
                        7,1,2.5,100,validation/pixel_accuracy,0.75\n";
        assert_eq!(csv(&events), expected);
    }
}
