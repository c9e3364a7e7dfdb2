//! Shared by the fuzz targets.

use std::io::{Seek, Write};
use std::path::Path;

/// Calls `read` on a file that contains `bytes`, because the readers take paths.
pub fn on_file<T>(bytes: &[u8], read: impl Fn(&Path) -> T) -> T {
    thread_local! {
        static FILE: std::cell::RefCell<tempfile::NamedTempFile> =
            std::cell::RefCell::new(tempfile::NamedTempFile::new().expect("a temporary file"));
    }
    FILE.with_borrow_mut(|file| {
        file.rewind().and_then(|()| file.as_file().set_len(0)).expect("an empty file");
        file.write_all(bytes).expect("room for the input");
        read(file.path())
    })
}
