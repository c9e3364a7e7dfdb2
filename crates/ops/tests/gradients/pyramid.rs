//! The convolution over a pyramid, and upsampling.

use crate::check::{EXACT, check_gradient, flat, random, relative_l2};
use candle_core::{Result, Tensor, Var};
use robustseg_ops::{Alignment, Conv2dConfig, conv2d, conv2d_pyramid, upsample_bilinear};

/// Input (N, H, W, I), bins, channels of a level, outputs, kernel.
type PyramidCase = ([usize; 4], &'static [usize], usize, usize, usize);

/// Maps smaller than the bins, and larger.
const PYRAMIDS: [PyramidCase; 4] = [
    ([2, 7, 5, 3], &[1, 2, 3], 2, 4, 3),
    ([1, 9, 14, 2], &[1, 2, 3, 6], 3, 2, 3),
    ([1, 1, 2, 2], &[2, 3], 1, 3, 3),
    ([1, 4, 6, 1], &[3], 2, 2, 5),
];

fn pyramid_arguments(case: &PyramidCase) -> [Tensor; 3] {
    let (shape, bins, channels, outputs, kernel) = case;
    let positions = bins.iter().map(|bins| bins * bins).sum();
    [
        random(shape, 1),
        random(&[shape[0], positions, *channels], 2),
        random(&[*outputs, *kernel, *kernel, shape[3] + channels * bins.len()], 3),
    ]
}

/// The map concatenated with the upsampled levels, convolved as one.
fn concatenated(
    x: &Tensor,
    levels: &Tensor,
    weight: &Tensor,
    bins: &[usize],
    alignment: Alignment,
) -> Result<Tensor> {
    let (images, height, width, _) = x.dims4()?;
    let (_, _, channels) = levels.dims3()?;
    let (mut maps, mut start) = (vec![x.clone()], 0);
    for &bins in bins {
        let level = levels.narrow(1, start, bins * bins)?.reshape((images, bins, bins, channels))?;
        maps.push(upsample_bilinear(&level, height, width, alignment)?);
        start += bins * bins;
    }
    let config = Conv2dConfig { padding: weight.dim(1)? / 2, ..Conv2dConfig::default() };
    conv2d(&Tensor::cat(&maps, 3)?, weight, config, EXACT)
}

#[test]
fn pyramid_convolution_is_that_of_the_upsampled_maps() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for case in &PYRAMIDS {
            let [x, levels, weight] = pyramid_arguments(case);
            let ours = conv2d_pyramid(&x, &levels, &weight, case.1, alignment, EXACT).unwrap();
            let plain = concatenated(&x, &levels, &weight, case.1, alignment).unwrap();
            let error = relative_l2(&flat(&ours), &flat(&plain));
            assert!(error < 1e-6, "{case:?} {alignment:?}: {error}");
        }
    }
}

#[test]
fn pyramid_convolution_gradients() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for case in &PYRAMIDS {
            check_gradient(&pyramid_arguments(case), 0.5, 1e-4, |a| {
                conv2d_pyramid(&a[0], &a[1], &a[2], case.1, alignment, EXACT)
            });
        }
    }
    // Each gradient is the same alone and together with the others.
    let arguments = pyramid_arguments(&PYRAMIDS[0]);
    let run = |tracked: &[Tensor]| {
        let (bins, alignment) = (PYRAMIDS[0].1, Alignment::HalfPixel);
        conv2d_pyramid(&tracked[0], &tracked[1], &tracked[2], bins, alignment, EXACT)?.sqr()?.backward()
    };
    let vars = arguments.each_ref().map(|argument| Var::from_tensor(argument).unwrap());
    let all = run(&vars.each_ref().map(|var| var.as_tensor().clone())).unwrap();
    for (index, var) in vars.iter().enumerate() {
        let mut tracked = arguments.clone();
        tracked[index] = var.as_tensor().clone();
        let alone = run(&tracked).unwrap();
        assert_eq!(flat(alone.get(var).unwrap()), flat(all.get(var).unwrap()));
    }
}

#[test]
fn upsampling_gradients() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for (shape, to) in [([2, 3, 5, 2], [7, 11]), ([1, 1, 4, 3], [5, 4]), ([1, 6, 5, 1], [4, 3])] {
            check_gradient(&[random(&shape, 1)], 0.5, 1e-4, |a| {
                upsample_bilinear(&a[0], to[0], to[1], alignment)
            });
        }
    }
}
