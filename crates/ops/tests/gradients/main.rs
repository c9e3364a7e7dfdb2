//! Every operation against a plain reference, and its gradient against finite differences, on odd,
//! non-square sizes.

mod arguments;
mod batch_norm;
mod channels;
mod check;
mod convolution;
mod deal;
mod losses;
mod objective;
mod pooling;
mod probabilities;
mod pyramid;
mod rounded;
mod tape;
mod transformer;
