//! Numbers as the bytes that ranks hand around.

/// The bytes of `values`, one value after the other.
///
/// ```
/// use robustseg_ranks::{from_bytes, to_bytes};
/// let bytes = to_bytes(&[1.5_f32, f32::MIN], f32::to_le_bytes);
/// assert_eq!(from_bytes(&bytes, f32::from_le_bytes), [1.5, f32::MIN]);
/// ```
pub fn to_bytes<T: Copy, const N: usize>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to(*value)).collect()
}

/// The values of which [`to_bytes`] made `bytes`. An incomplete value at the end is left out.
pub fn from_bytes<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| from(*bytes)).collect()
}
