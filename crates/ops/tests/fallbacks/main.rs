//! Convolutions on a GPU whose libraries fail, or give wrong numbers, are still right, and their records
//! say how they were computed. The emulated GPU produces the faults (`GPU_EMULATOR_FAULTS`, see
//! `tests/gpu_emulator/emulator.hpp`). On a real one there is nothing to test.
#![cfg(feature = "cuda")]

mod child;
mod folded_norm;

use candle_core::{DType, Device, Result, Tensor, Var};
use child::{OTHERS, Warnings, difference, lines, numbers, said, with};
use robustseg_ops::cuda::{ConvolutionRecord, convolution_records};
use robustseg_ops::{Arithmetic, Conv2dConfig, ConvolutionChoice, Factors, conv2d_add, cuda};

/// A convolution with a residual, and the gradients of all three.
fn outcome(
    device: &Device,
    elements: DType,
    config: Conv2dConfig,
    choice: ConvolutionChoice,
    shapes: &[Vec<usize>; 3],
) -> Result<Vec<Tensor>> {
    let variables = shapes
        .iter()
        .map(|shape| Var::from_tensor(&numbers(shape).to_device(device)?.to_dtype(elements)?))
        .collect::<Result<Vec<_>>>()?;
    let arithmetic = Arithmetic { factors: Factors::F32, choice };
    let out = conv2d_add(&variables[0], &variables[1], config, &variables[2], arithmetic)?;
    let factors = numbers(&shapes[2]).affine(0.5, 0.25)?.to_device(device)?.to_dtype(elements)?;
    let gradients = (&out * factors)?.to_dtype(DType::F32)?.sum_all()?.backward()?;
    let of = |variable: &Var| gradients.get(variable).expect("each has a gradient").clone();
    let mut all = vec![out.detach()];
    all.extend(variables.iter().map(of));
    Ok(all)
}

/// The work of a child process. The emulator reads its faults when a process starts.
#[test]
#[ignore = "the others start it"]
fn convolutions_of_this_process() {
    tracing::subscriber::set_global_default(Warnings).unwrap();
    let gpu = cuda::open(0).unwrap();
    let shapes = |input: [usize; 4], outputs, kernel, config: Conv2dConfig| {
        let [height, width] = [input[1], input[2]].map(|size| config.output_size(size, kernel).unwrap());
        [input.to_vec(), vec![outputs, kernel, kernel, input[3]], vec![input[0], height, width, outputs]]
    };
    for (input, outputs, kernel, stride, padding, dilation) in
        [([2, 7, 9, 3], 5, 3, 2, 1, 1), ([1, 9, 11, 16], 8, 3, 1, 4, 4), ([3, 6, 5, 8], 24, 1, 1, 0, 1)]
    {
        let config = Conv2dConfig { stride, padding, dilation };
        let shapes = shapes(input, outputs, kernel, config);
        let expected =
            outcome(&Device::Cpu, DType::F32, config, ConvolutionChoice::Predicted, &shapes).unwrap();
        // Measuring takes a large piece of memory, which the emulator fills.
        let measured = (kernel == 1).then_some(ConvolutionChoice::Measured);
        for choice in [Some(ConvolutionChoice::Predicted), measured].into_iter().flatten() {
            for (elements, bound) in [(DType::F32, 2e-5), (DType::BF16, 4e-2)] {
                // The first time chooses, the second takes what was chosen.
                for _ in 0..2 {
                    let found = outcome(&gpu, elements, config, choice, &shapes).unwrap();
                    for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
                        let difference = difference(expected, found);
                        assert!(
                            difference < bound,
                            "{config:?} {elements:?} {choice:?} {index}: {difference}"
                        );
                    }
                }
            }
        }
    }
    // Three products in two types, of three convolutions predicted and one measured.
    let records = convolution_records();
    assert_eq!(records.len(), 24);
    for record in records {
        println!("record: {record:?}");
    }
}

/// The test that a child process does.
const CHILD: &str = "convolutions_of_this_process";

/// Checks every record, and the warnings, of a child process with these faults, which has cuDNN's
/// older interface alone.
fn expect(faults: &str, warnings: &[&str], record: impl Fn(&str) -> bool) {
    let Some(text) = with(CHILD, faults, OTHERS) else { return };
    for line in records(faults, &text, warnings) {
        assert!(record(line), "{faults}: {line}");
    }
}

/// The number of products that other ways compute in a child process with these faults. Each record
/// of one that was dismissed says `reason`.
fn replaced(faults: &str, warnings: &[&str], reason: &str) -> Option<usize> {
    let text = with(CHILD, faults, "")?;
    let records = records(faults, &text, warnings);
    assert!(reason.is_empty() || records.iter().any(|line| line.contains(reason)), "{text}");
    let replaced = records.iter().filter(|line| line.contains("instead_of: Some"));
    Some(replaced.filter(|line| line.contains("repeatable: true")).count())
}

/// All records of a child process with these faults, after a check of its warnings.
fn records<'a>(faults: &str, text: &'a str, warnings: &[&str]) -> Vec<&'a str> {
    let records = lines(text, "record: ");
    assert_eq!(records.len(), 24, "{text}");
    said(faults, text, warnings);
    records
}

#[test]
fn where_nothing_fails_each_convolution_has_a_repeatable_algorithm_and_nothing_is_said() {
    expect("", &[], |line| {
        line.contains("repeatable: true") && line.contains("dismissed: []") && !line.contains("patches")
    });
}

#[test]
fn an_algorithm_that_fails_makes_room_for_the_next_be_it_not_repeatable() {
    let warnings = ["instead of", "no repeatable algorithm"];
    expect("run:1", &warnings, |line| {
        let output = line.contains("\"output\"");
        line.contains("EXECUTION_FAILED") && line.contains(&format!("repeatable: {output}"))
    });
}

#[test]
fn where_all_algorithms_fail_patches_do() {
    expect("run:all", &["instead of", "patches"], |line| {
        line.contains("algorithm: \"patches\"") && line.contains("EXECUTION_FAILED")
    });
}

#[test]
fn where_cudnn_names_no_algorithm_patches_do() {
    expect("query", &["patches"], |line| {
        line.contains("algorithm: \"patches\"") && line.contains("asking: ")
    });
}

#[test]
fn what_cannot_be_measured_is_predicted() {
    expect("find", &[], |line| {
        !line.contains("patches") && (line.contains("dismissed: []") || line.contains("measuring: "))
    });
}

#[test]
fn what_is_not_repeatable_is_taken_with_one_warning_where_there_is_nothing_else() {
    expect("random", &["no repeatable algorithm"], |line| {
        line.contains("repeatable: false") && !line.contains("patches")
    });
}

#[test]
fn arithmetic_that_cudnn_did_not_name_is_not_forced_and_f32_stays_exact() {
    expect("math", &["instead of", "patches"], |line| {
        if line.contains("elements: \"f32\"") {
            line.contains("patches")
        } else {
            line.contains("DEFAULT_MATH")
        }
    });
}

#[test]
fn an_algorithm_that_needs_more_memory_than_it_said_is_left_out() {
    let warnings = ["instead of", "no repeatable algorithm"];
    expect("workspace:1", &warnings, |line| line.contains("more than 268435456"));
}

#[test]
fn without_memory_pools_all_is_as_before() {
    expect("pools", &["keeps no freed memory"], |line| line.contains("dismissed: []"));
}

/// Without measured times, all three products of the 1x1 convolution in both types, and those of the
/// two others in bf16.
const REPLACED: usize = 6 + 6;

#[test]
fn where_nothing_fails_other_ways_are_taken() {
    let Some(count) = replaced("", &[], "") else { return };
    assert!(count >= REPLACED, "{count}");
}

#[test]
fn ways_that_are_not_there_are_not_missed() {
    let Some(count) = replaced("lt:query,graph:query", &[], "offers nothing") else { return };
    assert_eq!(count, 0);
    assert_eq!(replaced("lt:query,graph:plan", &[], "NOT_SUPPORTED"), Some(0));
}

#[test]
fn ways_that_fail_are_dismissed() {
    let Some(count) = replaced("lt:run,graph:run", &[], "EXECUTION_FAILED") else { return };
    assert_eq!(count, 0);
}

#[test]
fn ways_that_are_wrong_are_dismissed_with_a_warning() {
    let warnings = ["is wrong and not used"];
    let Some(count) = replaced("lt:wrong,graph:wrong", &warnings, "differs from what is known") else {
        return;
    };
    assert_eq!(count, 0);
}

#[test]
fn a_way_that_fails_later_is_given_up() {
    let warnings = ["is computed as before again"];
    let Some(count) = replaced("lt:later,graph:query", &warnings, "EXECUTION_FAILED") else { return };
    // The output was computed once more before.
    assert!(count <= 2, "{count}");
}

#[test]
fn records_say_what_was_computed() {
    if cuda::count() == 0 {
        eprintln!("no GPU here: not tested");
        return;
    }
    let gpu = cuda::open(0).unwrap();
    let (x, weight) = (numbers(&[2, 5, 4, 3]), numbers(&[7, 3, 3, 3]));
    let [x, weight] = [x, weight].map(|tensor| tensor.to_device(&gpu).unwrap());
    let config = Conv2dConfig { stride: 1, padding: 1, dilation: 1 };
    robustseg_ops::conv2d(&x, &weight, config, Arithmetic::default()).unwrap();
    let records = convolution_records();
    let ConvolutionRecord { product, batch, input, output, kernel, .. } = &records[0];
    assert_eq!((records.len(), *product, *batch), (1, "output", 2));
    assert_eq!((*input, *output, *kernel), ([5, 4, 3], [5, 4, 7], [3, 3]));
}
