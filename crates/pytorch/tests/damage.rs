//! Truncated, mutated and invented files: an error or weights, never a panic or a large allocation.

use std::fs;
use std::io::Write;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use robustseg_pytorch::TorchFile;

const FILES: [&str; 6] =
    ["state_dict.pth", "types.pth", "nested.pth", "protocol5.pth", "legacy.pth", "legacy_types.pth"];

fn bytes(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)).unwrap()
}

/// Opens a file of `bytes` and reads all its tensors. Returns whether all went well.
fn reads(bytes: &[u8]) -> bool {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let Ok(mut opened) = TorchFile::open(file.path()) else { return false };
    let shapes: Vec<(String, usize)> = opened
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape().iter().product()))
        .collect();
    shapes.into_iter().all(|(name, count)| match opened.read(&name) {
        Ok(numbers) => {
            assert_eq!(numbers.len(), count, "{name}");
            true
        }
        Err(_) => false,
    })
}

/// Address space that this process has reserved at most, in bytes.
fn reserved() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    peak.map_or(0, |peak| peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10)
}

/// Runs `test` and requires that it reserves little memory.
fn frugally(test: impl FnOnce()) {
    let before = reserved();
    test();
    // Threads of other tests reserve 64 MiB each.
    assert!(reserved() - before < 1 << 30, "reserved {} MiB", (reserved() - before) >> 20);
}

#[test]
fn whole_files_are_read() {
    for name in FILES {
        assert!(reads(&bytes(name)), "{name}");
    }
}

#[test]
fn every_truncated_file_is_refused() {
    frugally(|| {
        for name in FILES {
            let whole = bytes(name);
            for length in (0..whole.len()).step_by(7).chain(whole.len() - 9..whole.len()) {
                assert!(!reads(&whole[..length]), "{name} of {length} bytes");
            }
        }
    });
}

#[test]
fn lengths_of_4_gib_and_more_reserve_nothing() {
    frugally(|| {
        for name in ["legacy.pth", "legacy_types.pth"] {
            let whole = bytes(name);
            for at in 0..whole.len() - 8 {
                let mut changed = whole.clone();
                changed[at..at + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
                reads(&changed);
            }
        }
    });
}

/// A legacy file whose content is `pickle`.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let mut file =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    file.extend(pickle);
    file.extend(b"\x80\x02].");
    file
}

#[test]
fn small_programs_cannot_make_large_values() {
    frugally(|| {
        // A list of a list, doubled a hundred times; a dictionary that is copied a million times;
        // values, marks and memories without end.
        let mut doubled = b"\x80\x04]".to_vec();
        doubled.extend(b"2\x86".repeat(100));
        let mut copied = b"\x80\x04(".to_vec();
        copied.extend(b")N\x86".repeat(100_000));
        copied.extend(b"l\x940ccollections\nOrderedDict\n\x940");
        copied.extend(b"h\x01h\x00\x85R0".repeat(100_000));
        for pickle in [
            doubled,
            copied,
            b"N".repeat(1 << 22),
            b"(".repeat(1 << 22),
            [b"N".to_vec(), b"\x94".repeat(1 << 22)].concat(),
            [b"N".to_vec(), b"\x85".repeat(1 << 22)].concat(),
            b"ctorch\nX\n(R".repeat(1 << 18),
            b"\x8b\xff\xff\xff\x7f".to_vec(),
            b"X\xff\xff\xff\xff".to_vec(),
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ] {
            assert!(!reads(&legacy(&[&pickle[..], b"."].concat())));
        }
    });
}

#[test]
fn circular_values_end() {
    // A dictionary that holds itself under `state_dict`.
    let pickle = b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.";
    assert!(!reads(&legacy(pickle)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_give_an_error_or_weights(
        file in 0..FILES.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = bytes(FILES[file]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        reads(&bytes);
    }

    #[test]
    fn invented_pickles_give_an_error_or_weights(code in vec(any::<u8>(), 0..200)) {
        reads(&legacy(&code));
    }

    #[test]
    fn pickles_of_known_instructions_give_an_error_or_weights(
        code in vec(prop::sample::select(&b"(N0122K)\x85\x86\x87t]la}dsueqhQR\x81b\x94\x93."[..]), 0..200),
    ) {
        reads(&legacy(&code));
    }

    #[test]
    fn no_changed_number_goes_unnoticed_in_a_zip_file(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = bytes("state_dict.pth");
        // The first storage's bytes, which hold the numbers 0 to 5.
        let numbers: Vec<u8> = (0..6_u8).flat_map(|number| f32::from(number).to_le_bytes()).collect();
        let start = bytes.windows(24).position(|window| window == numbers).unwrap();
        bytes[start + at.index(24)] ^= 1 << bit;
        prop_assert!(!reads(&bytes));
    }
}
