//! Recognises files of other formats where a safetensors file is expected.

/// How to turn a PyTorch file into a file of ours.
const CONVERT: &str = "turn it into one with `robustseg import`";

/// The kind of a file with the first `bytes` and a remedy, if the format is known. The text
/// continues a sentence.
pub(crate) fn kind(bytes: &[u8]) -> Option<String> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let text = bytes.trim_ascii_start();
    let page = [&b"<!doctype"[..], b"<html"]
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)));
    let again = "download it again";
    let (what, advice) = if starts(b"PK\x03\x04") {
        ("a zip archive, as PyTorch's torch.save writes (.pth, .pt)", CONVERT)
    } else if matches!(bytes, [0x80, 2..=5, ..]) || bytes.get(257..262) == Some(b"ustar") {
        ("a pickle or tar, as older versions of PyTorch write (.pth, .pt)", CONVERT)
    } else if starts(b"\x89HDF") {
        ("an HDF5 file, as Keras writes (.h5)", "take the model's safetensors file")
    } else if starts(b"\x93NUMPY") {
        ("an array of NumPy (.npy)", "take the model's safetensors file")
    } else if starts(b"GGUF") {
        ("a GGUF file", "take the model's safetensors file")
    } else if starts(b"\x1f\x8b") {
        ("compressed by gzip", "unpack it first")
    } else if starts(b"version https://git-lfs") {
        ("a pointer of Git LFS in the place of the file", "fetch the file with `git lfs pull`")
    } else if page {
        ("a web page in the place of the file", again)
    } else if starts(b"\x89PNG") || starts(b"\xff\xd8\xff") {
        ("a picture", "give the file of weights")
    } else {
        return None;
    };
    Some(format!("but {what}; {advice}"))
}
