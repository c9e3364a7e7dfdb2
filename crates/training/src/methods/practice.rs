//! How the authors of each method let adversarial examples into a training.

use super::MethodConfig;
use crate::{AdversarialDraw, Statistics};

/// How adversarial examples enter a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Practice {
    /// Probability with which a sample is replaced by its adversarial example.
    pub probability: f64,
    /// How it is drawn which samples are.
    pub draw: AdversarialDraw,
    /// The statistics that batch norm uses while the examples are crafted.
    pub statistics: Statistics,
}

impl MethodConfig {
    /// How the method's authors do it, by their paper, and by their program where the paper says nothing:
    ///
    /// | method | samples attacked | statistics while crafting | source |
    /// |---|---|---|---|
    /// | the paper's five, `pixel_newton` | each with probability 0.5 | running | Wiens & Hammer 2022, sec. 4.1.2; silent about the statistics |
    /// | `rs_fgsm`, `n_fgsm`, `grad_align` | all | the batch's | the authors' programs, whose model is in training mode throughout |
    /// | `fgsm_ckpt` | all | running | the authors' program, which attacks and looks at checkpoints in evaluation mode |
    /// | `free` | all | the batch's | algorithm 1: the gradient is that of the update |
    /// | `pgd_at` | all | the batch's | Madry et al. 2018, sec. 2; their program for CIFAR-10 attacks the model in training mode |
    /// | `segpgd_at` | exactly half | running | Gu et al. 2022, algorithm 2; silent about the statistics |
    /// | `ddc_at` | exactly half | running | the authors' program, which attacks in evaluation mode |
    pub fn practice(&self) -> Practice {
        let (draw, running) = (AdversarialDraw::Sample, Statistics::Running);
        let half = Practice { probability: 0.5, draw, statistics: running };
        let all = Practice { probability: 1.0, draw, statistics: Statistics::Batch };
        match self {
            Self::Basic
            | Self::Fgsm(_)
            | Self::RandomFgsm(_)
            | Self::Bim(_)
            | Self::FastNewton(_)
            | Self::PixelNewton(_) => half,
            Self::RsFgsm(_) | Self::NFgsm(_) | Self::GradAlign(_) | Self::Free(_) | Self::PgdAt(_) => all,
            Self::FgsmCkpt(_) => Practice { statistics: running, ..all },
            Self::SegPgdAt(_) | Self::DdcAt(_) => Practice { draw: AdversarialDraw::Exact, ..half },
        }
    }
}
