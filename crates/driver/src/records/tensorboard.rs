//! Event files of TensorBoard: `TFRecord`s of protocol buffers.
//!
//! A record is its length, the length's checksum, the content, and the content's checksum. The
//! content is an `Event` (`tensorflow/core/util/event.proto`) with a time, a step and a `Summary`
//! (`tensorflow/core/framework/summary.proto`) of named numbers. Checksums are CRC-32C, masked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use robustseg_files::{create_folders, write_atomically};
use tracing::warn;

use super::events::LoggedEvent;
use super::scalars::{Scalars, scalars};

/// The file in a run directory. TensorBoard looks for `tfevents` in names.
pub(crate) const EVENT_FILE: &str = "tensorboard/events.out.tfevents.robustseg";

/// The open event file of a run. It is a copy for looking on: a fault ends the copy with a warning,
/// but not the run.
pub(super) struct TensorBoard(Option<File>);

impl TensorBoard {
    /// Opens the file of the run directory `folder`, with nothing but `events`. A file that begins with
    /// them is cut behind them, because a running TensorBoard would not see another file in its place.
    pub(super) fn open<'a>(
        folder: &Path,
        events: impl IntoIterator<Item = &'a LoggedEvent>,
        wall_time: f64,
    ) -> Self {
        let path = folder.join(EVENT_FILE);
        let records = events.into_iter().map(of_event).filter(|record| !record.is_empty());
        let records: Vec<Vec<u8>> = [beginning(wall_time)].into_iter().chain(records).collect();
        Self::checked(opened(&path, &records))
    }

    /// Appends the numbers of `logged`.
    pub(super) fn append(&mut self, logged: &LoggedEvent) {
        if let Some(file) = &mut self.0 {
            let record = of_event(logged);
            if let Err(error) = file.write_all(&record) {
                *self = Self::checked(Err(error));
            }
        }
    }

    /// Waits until all appended numbers are on the disk.
    pub(super) fn sync(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(File::sync_data) {
            *self = Self::checked(Err(error));
        }
    }

    fn checked(opened: io::Result<File>) -> Self {
        if let Err(error) = &opened {
            warn!("{EVENT_FILE} is not continued: {error}; events.jsonl has all events");
        }
        Self(opened.ok())
    }
}

/// The file at `path` with nothing but `records`, open for more.
fn opened(path: &Path, records: &[Vec<u8>]) -> io::Result<File> {
    path.parent().map_or(Ok(()), create_folders)?;
    let former = fs::read(path).unwrap_or_default();
    let (mut kept, mut missing) = (0, records);
    while let [record, rest @ ..] = missing
        && let Some(found) = former.get(kept..kept + record.len())
        && has_numbers_of(found, record)
    {
        (kept, missing) = (kept + record.len(), rest);
    }
    let is_other = missing.first().is_some_and(|record| kept + record.len() <= former.len());
    if kept == 0 || is_other {
        write_atomically(path, &records.concat())?;
        return OpenOptions::new().append(true).open(path);
    }
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.set_len(kept as u64)?;
    file.write_all(&missing.concat())?;
    Ok(file)
}

/// Whether two records of equal lengths hold the same numbers. Their times, which come first, count
/// for nothing: a time that was written as text may differ in its last digit.
fn has_numbers_of(found: &[u8], record: &[u8]) -> bool {
    let (time, end) = (12..12 + TIME, record.len() - 4);
    found[..time.start] == record[..time.start] && found[time.end..end] == record[time.end..end]
}

/// Bytes of an event's time.
const TIME: usize = 9;

/// The first record: the version of the format.
fn beginning(wall_time: f64) -> Vec<u8> {
    record(&[double(1, wall_time), bytes(3, b"brain.Event:2")].concat())
}

/// The record of `logged`. Empty if it has no numbers.
fn of_event(logged: &LoggedEvent) -> Vec<u8> {
    let Some(Scalars { step, values, .. }) = scalars(&logged.event) else { return Vec::new() };
    let value = |(name, value): (&str, f64)| {
        // Field 2, of 32 bits.
        let number = [&[2 << 3 | 5][..], &(value as f32).to_le_bytes()].concat();
        bytes(1, &[bytes(1, name.as_bytes()), number].concat())
    };
    let summary: Vec<u8> = values.into_iter().flat_map(value).collect();
    let step = [vec![2 << 3], varint(step)].concat();
    record(&[double(1, logged.wall_time), step, bytes(5, &summary)].concat())
}

fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), content, &masked(content).to_le_bytes()].concat()
}

/// A field of 64 bits.
fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1][..], &value.to_le_bytes()].concat()
}

/// A field with its length.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(content.len() as u64), content].concat()
}

/// Groups of seven bits, the lowest first. All but the last have the highest bit set.
fn varint(mut value: u64) -> Vec<u8> {
    let mut groups = Vec::new();
    while value >= 0x80 {
        groups.push(value as u8 | 0x80);
        value >>= 7;
    }
    groups.push(value as u8);
    groups
}

fn masked(content: &[u8]) -> u32 {
    crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: records are few and small.
fn crc32c(content: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !content.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use robustseg_training::Event;
    use std::process::Command;

    fn validation(step: u64, miou: f64) -> LoggedEvent {
        let (epoch, pixel_accuracy, best, seconds) = (1, 0.75, true, 1.0);
        let event =
            Event::Validation { step, epoch, miou, pixel_accuracy, attacked_miou: None, best, seconds };
        LoggedEvent { event, time_s: 2.5, wall_time: 1.5e9 }
    }

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(varint(300), [0xac, 2]);
    }

    /// A Python with TensorBoard is `ROBUSTSEG_TENSORBOARD`, or `python3`.
    #[test]
    fn tensorboard_reads_the_numbers() {
        let python = std::env::var("ROBUSTSEG_TENSORBOARD").unwrap_or_else(|_| "python3".into());
        let there = Command::new(&python).args(["-c", "import tensorboard"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: {python} has no tensorboard");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.out.tfevents.robustseg");
        let other =
            LoggedEvent { event: Event::Checkpoint { step: 3, epoch: 0 }, time_s: 1.0, wall_time: 1.0 };
        assert!(of_event(&other).is_empty());
        let records = [beginning(1.5e9), of_event(&validation(7, 0.5)), of_event(&validation(300, 0.625))];
        std::fs::write(file, records.concat()).unwrap();
        let script = "import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1]).Reload()
print(sorted(found.Tags()['scalars']))
print([(e.step, e.value, e.wall_time) for e in found.Scalars('validation/mean_iou')])";
        let output = Command::new(python).arg("-c").arg(script).arg(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = "['validation/mean_iou', 'validation/pixel_accuracy']\n\
                        [(7, 0.5, 1500000000.0), (300, 0.625, 1500000000.0)]\n";
        assert_eq!(text, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
