//! Convolutions with a folded norm, whose bias and `ReLU` are a pass of their own where no way adds them.

use candle_core::{DType, Device, Result, Tensor};
use robustseg_ops::cuda::{self, convolution_records};
use robustseg_ops::{
    Arithmetic, BatchNorm, BatchStatistics, Conv2dConfig, ConvolutionChoice, Factors, FoldedNorm,
    StatisticsSource, batch_norm_relu, conv2d,
};

use crate::child::{OTHERS, Warnings, difference, lines, numbers, said, with};

/// Convolution, norm and `ReLU`, folded on a GPU, of `x` and a kernel of these shapes.
fn output(
    device: &Device,
    elements: DType,
    config: Conv2dConfig,
    choice: ConvolutionChoice,
    [x, kernel]: [&[usize]; 2],
) -> Result<Tensor> {
    let outputs = kernel[0];
    let vector = |start: usize| numbers(&[outputs + start]).narrow(0, start, outputs)?.to_device(device);
    let (weight, bias, mean) = (vector(1)?, vector(2)?, vector(3)?);
    let statistics = &BatchStatistics::new(mean, (vector(4)?.abs()? + 0.25)?);
    let (source, eps) = (StatisticsSource::Running, 1e-5);
    let norm = BatchNorm { weight: &weight, bias: &bias, statistics, source, eps };
    let [x, kernel] = [numbers(x), numbers(kernel)].map(|tensor| tensor.to_device(device));
    let (x, kernel) = (x?.to_dtype(elements)?, kernel?);
    let arithmetic = Arithmetic { factors: Factors::F32, choice };
    if let Some(folded) = FoldedNorm::new(&kernel, norm, elements)? {
        return folded.conv2d_relu(&x, config, arithmetic);
    }
    let y = conv2d(&x, &kernel.to_dtype(elements)?, config, arithmetic)?;
    batch_norm_relu(&y, &weight, &bias, statistics, source, eps)
}

/// The work of a child process.
#[test]
#[ignore = "the others start it"]
fn folded_norms_of_this_process() {
    tracing::subscriber::set_global_default(Warnings).unwrap();
    let gpu = cuda::open(0).unwrap();
    for (x, outputs, kernel, stride, padding, dilation) in
        [([2, 7, 9, 3], 5, 3, 2, 1, 1), ([1, 9, 11, 16], 8, 3, 1, 4, 4), ([3, 6, 5, 8], 24, 1, 1, 0, 1)]
    {
        let config = Conv2dConfig { stride, padding, dilation };
        let kernels = [outputs, kernel, kernel, x[3]];
        let shapes: [&[usize]; 2] = [&x, &kernels];
        let predicted = ConvolutionChoice::Predicted;
        let expected = output(&Device::Cpu, DType::F32, config, predicted, shapes).unwrap();
        // Measuring takes a large piece of memory, which the emulator fills.
        let measured = (kernel == 1).then_some(ConvolutionChoice::Measured);
        for choice in [Some(predicted), measured].into_iter().flatten() {
            for (elements, bound) in [(DType::F32, 2e-5), (DType::BF16, 2e-2)] {
                // The first time chooses, the second takes what was chosen, the others may fail.
                for _ in 0..4 {
                    let found = output(&gpu, elements, config, choice, shapes).unwrap();
                    let difference = difference(&expected, &found);
                    assert!(difference < bound, "{config:?} {elements:?} {choice:?}: {difference}");
                }
            }
        }
    }
    for record in convolution_records() {
        println!("record: {record:?}");
    }
}

/// The test that a child process does.
const CHILD: &str = "folded_norm::folded_norms_of_this_process";

/// Three outputs in two types, and one of them measured too.
const OUTPUTS: usize = 8;

/// The numbers of outputs whose bias is added by cublasLt and by cuDNN's graph interface, in a child process
/// with these faults and ways left out. The record of one of the others says `reason`.
fn fused(faults: &str, left_out: &str, warnings: &[&str], reason: &str) -> Option<[usize; 2]> {
    let text = with(CHILD, faults, left_out)?;
    said(faults, &text, warnings);
    let by = |way: &str| lines(&text, &format!("folded_norm: Some(\"{way}"));
    let [lt, graph, separate] = ["cublasLt", "cuDNN's graph interface", "separate pass"].map(by);
    assert_eq!(lines(&text, "record: ").len(), OUTPUTS, "{text}");
    assert_eq!(lt.len() + graph.len() + separate.len(), OUTPUTS, "{text}");
    assert!(reason.is_empty() || separate.iter().any(|line| line.contains(reason)), "{text}");
    Some([lt.len(), graph.len()])
}

#[test]
fn where_nothing_fails_ways_add_the_bias() {
    let Some([lt, graph]) = fused("", "", &[], "") else { return };
    // Without measured times, the 1x1 convolution in both types, and the two others in bf16.
    assert!(lt >= 2 && graph >= 2, "{lt}, {graph}");
}

#[test]
fn where_one_library_adds_no_bias_the_other_does() {
    let Some([lt, graph]) = fused("lt:bias:query", "", &[], "cublasLt: CUBLAS_STATUS_NOT_SUPPORTED") else {
        return;
    };
    // Those in bf16, of which one is measured.
    assert!(lt == 0 && graph >= 3, "{lt}, {graph}");
    let Some([lt, graph]) = fused("graph:bias:query", "", &[], "graph interface offers nothing") else {
        return;
    };
    assert!(lt >= 2 && graph == 0, "{lt}, {graph}");
}

#[test]
fn where_no_way_adds_the_bias_a_separate_pass_does() {
    let wrong = ["is wrong and not used"];
    for (faults, left_out, warnings, reason) in [
        ("lt:bias:query,graph:bias:query", "", &[][..], "offers nothing"),
        ("lt:bias:query,graph:bias:plan", "", &[], "NOT_SUPPORTED"),
        ("lt:bias:run,graph:bias:run", "", &[], "EXECUTION_FAILED"),
        ("lt:bias:wrong,graph:bias:wrong", "", &wrong, "differs from what is known"),
        ("", OTHERS, &[], ""),
        ("run:all", OTHERS, &["instead of", "patches"], "algorithm: \"patches\""),
    ] {
        let Some(counts) = fused(faults, left_out, warnings, reason) else { return };
        assert_eq!(counts, [0, 0], "{faults}");
    }
}

#[test]
fn a_way_that_fails_later_leaves_the_bias_to_a_separate_pass() {
    let warnings = ["is computed as before again"];
    let Some([lt, graph]) = fused("lt:bias:later,graph:bias:query", "", &warnings, "EXECUTION_FAILED") else {
        return;
    };
    // That of the first products.
    assert!(lt <= 1 && graph == 0, "{lt}, {graph}");
}

#[test]
fn folding_can_be_left_out() {
    let Some(text) = with(CHILD, "", "folding") else { return };
    let records = lines(&text, "record: ");
    assert_eq!(records.len(), OUTPUTS, "{text}");
    assert!(records.iter().all(|line| line.contains("folded_norm: None")), "{text}");
}
