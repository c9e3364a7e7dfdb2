//! Elementary functions without branches, so that loops over them compile to vectors.

/// Large enough that adding it rounds to an integer, which the lowest bits then hold.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts, of which the first has few bits.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `exp` within half a binary order, as a polynomial with relative error 2e-9.
const EXP: [f32; 7] = [1.0, 1.0, 0.499_999_9, 0.166_664_2, 0.041_668_225, 0.008_374_816, 0.001_383_683_2];
/// `-ln(erfc(t)) / t` on [0, 4] as a polynomial; `erfc` is then off by at most 4e-8.
const ERFC: [f32; 10] = [
    std::f32::consts::FRAC_2_SQRT_PI,
    0.636_618_5,
    0.102_780_62,
    -0.019_148_517,
    -1.974_967_6e-4,
    0.001_740_992,
    -7.043_067_6e-4,
    1.543_445_7e-4,
    -1.884_199_2e-5,
    9.986_396e-7,
];

#[inline(always)]
#[allow(clippy::inline_always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut sum = coefficients[N - 1];
    for coefficient in coefficients[..N - 1].iter().rev() {
        sum = sum.mul_add(x, *coefficient);
    }
    sum
}

/// The exponential function, with relative error 2e-7, for -87 to 88; beyond, its value at the end.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let orders = shifted - ROUND;
    let rest = orders.mul_add(-LN_2[1], orders.mul_add(-LN_2[0], x));
    // The integer moves into the exponent's bits, the rest of ROUND out at the top.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    polynomial(&EXP, rest) * scale
}

/// The share of a standard normal distribution below `x`, with absolute error 1e-7.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn normal_below(x: f32) -> f32 {
    let distance = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let inside = distance.min(4.0);
    // Beyond 4 any fast decay will do, because f32 cannot tell it from 0.
    let exponent = (distance - inside).mul_add(16.0, inside * polynomial(&ERFC, inside));
    let tail = 0.5 * exp(-exponent);
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_have_small_relative_errors() {
        for step in -870_000..880_000 {
            let x = step as f32 * 1e-4;
            let error = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
            assert!(error.abs() < 2.5e-7, "exp({x}) is off by {error}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn shares_of_the_normal_distribution_match_its_table() {
        // Abramowitz & Stegun, table 26.1.
        for (x, share) in [
            (0.0, 0.5),
            (0.02, 0.507_978_313_7),
            (0.5, 0.691_462_461_3),
            (1.0, 0.841_344_746_1),
            (1.5, 0.933_192_798_7),
            (2.0, 0.977_249_868_1),
            (2.5, 0.993_790_334_7),
            (3.0, 0.998_650_102_0),
            (4.0, 0.999_968_328_8),
        ] {
            assert!((f64::from(normal_below(x)) - share).abs() < 1e-7, "{x}");
            assert!((f64::from(normal_below(-x)) - (1.0 - share)).abs() < 1e-7, "-{x}");
        }
        assert!(normal_below(-30.0) < 1e-30 && normal_below(30.0) == 1.0);
        assert!(normal_below(f32::NAN).is_nan());
    }
}
