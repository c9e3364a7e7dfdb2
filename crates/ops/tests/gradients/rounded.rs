//! Convolutions of factors rounded to bf16 against exact ones.

use candle_core::{Result, Tensor, Var};
use robustseg_ops::{Arithmetic, Conv2dConfig, Factors, Tape, conv2d};

use crate::check::{EXACT, flat, random, relative_l2};

/// Output, gradient of the input, gradient of the weight.
fn products(x: &Var, weight: &Var, config: Conv2dConfig, arithmetic: Arithmetic) -> Result<[Tensor; 3]> {
    let tape = Tape::start();
    let out = conv2d(x, weight, config, arithmetic)?;
    let mut gradients = tape.backward(&(&out * random(out.dims(), 3))?)?;
    Ok([out.detach(), gradients.remove(x).unwrap(), gradients.remove(weight).unwrap()])
}

#[test]
fn rounded_products_are_as_near_as_their_factors() -> Result<()> {
    let arithmetic = Arithmetic { factors: Factors::Bf16, ..EXACT };
    let strided = Conv2dConfig { stride: 2, padding: 1, ..Conv2dConfig::default() };
    let dilated = Conv2dConfig { padding: 2, dilation: 2, ..Conv2dConfig::default() };
    let padded = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    for (inputs, outputs, kernel, config) in
        [(7, 5, 3, padded), (33, 70, 1, Conv2dConfig::default()), (20, 65, 3, strided), (600, 48, 3, dilated)]
    {
        let x = Var::from_tensor(&random(&[2, 13, 17, inputs], 1))?;
        let weight = Var::from_tensor(&random(&[outputs, kernel, kernel, inputs], 2))?;
        let exact = products(&x, &weight, config, EXACT)?;
        let rounded = products(&x, &weight, config, arithmetic)?;
        for (name, (rounded, exact)) in
            ["output", "input", "weight"].into_iter().zip(rounded.iter().zip(&exact))
        {
            let error = relative_l2(&flat(rounded), &flat(exact));
            assert!(error > 1e-4, "nothing was rounded");
            assert!(error < 2.5e-3, "{inputs} x {kernel} x {outputs}, {name}: relative error {error}");
        }
    }
    Ok(())
}

#[test]
fn winograd_rounds_nothing() -> Result<()> {
    let x = Var::from_tensor(&random(&[1, 13, 17, 64], 1))?;
    let weight = Var::from_tensor(&random(&[80, 3, 3, 64], 2))?;
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let exact = products(&x, &weight, config, EXACT)?;
    let rounded = products(&x, &weight, config, Arithmetic { factors: Factors::Bf16, ..EXACT })?;
    for (rounded, exact) in rounded.iter().zip(&exact) {
        assert_eq!(flat(rounded), flat(exact));
    }
    Ok(())
}
