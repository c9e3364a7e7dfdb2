//! Creates a network's variables while its layers are built: from a seed, from a file, or as an
//! outline without values.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::disk::Disk;
use crate::stored::{from_disk, outside_shape};
use crate::{Parameter, ParameterKind, Part};
use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use robustseg_random::{standard_normal, stream};

/// Where the values of variables come from.
pub(crate) enum Source<'a> {
    /// Random numbers, keyed by this seed and the variable's name.
    Seed(u64),
    /// A checkpoint's tensors, (O, I, KH, KW) where they have four axes.
    File(&'a Disk),
    /// Zeros, to be overwritten by a saved state.
    Blank,
    /// Shapes alone, without memory behind them.
    Outline,
}

/// Creates variables and records each under its checkpoint name.
pub(crate) struct Maker<'a> {
    source: Source<'a>,
    device: Device,
    made: RefCell<Made>,
}

#[derive(Default)]
struct Made {
    parameters: BTreeMap<String, Parameter>,
    /// Shapes of an outline's variables, as files hold them.
    shapes: BTreeMap<String, Vec<usize>>,
    trainable: usize,
}

impl<'a> Maker<'a> {
    /// A maker of variables on `device`.
    pub(crate) fn new(source: Source<'a>, device: &Device) -> Self {
        Self { source, device: device.clone(), made: RefCell::default() }
    }

    /// The place of the network's outermost layers.
    pub(crate) fn variables(&self) -> Variables<'_> {
        Variables { maker: self, prefix: String::new(), part: Part::Head }
    }

    /// Trainable numbers of the variables so far.
    pub(crate) fn trainable(&self) -> usize {
        self.made.borrow().trainable
    }

    /// The shapes of an outline's variables by name, (O, I, KH, KW) where they have four axes.
    pub(crate) fn into_shapes(self) -> BTreeMap<String, Vec<usize>> {
        self.made.into_inner().shapes
    }

    /// The variables by name; an outline has none.
    pub(crate) fn into_parameters(self) -> BTreeMap<String, Parameter> {
        self.made.into_inner().parameters
    }

    fn make(
        &self,
        name: String,
        shape: Shape,
        kind: ParameterKind,
        part: Part,
        init: Init,
    ) -> Result<Tensor> {
        let mut made = self.made.borrow_mut();
        if made.parameters.contains_key(&name) {
            bail!("variable {name} exists twice, as a branch must not be named like a part of the network");
        }
        if kind != ParameterKind::RunningStatistic {
            made.trainable += shape.elem_count();
        }
        let var = match &self.source {
            Source::Outline => {
                made.shapes.insert(name, outside_shape(shape.dims()));
                return Tensor::zeros(1, DType::F32, &self.device)?.broadcast_as(shape);
            }
            Source::Blank => Var::zeros(shape, DType::F32, &self.device)?,
            Source::Seed(seed) => Var::from_vec(init.draw(*seed, &name, &shape), shape, &self.device)?,
            Source::File(file) => Var::from_vec(from_disk(file, &name, &shape)?, shape, &self.device)?,
        };
        let variable = var.as_tensor().clone();
        let position = made.parameters.len();
        made.parameters.insert(name, Parameter { var, kind, part, position });
        Ok(variable)
    }
}

/// The place of a layer in a network: the start of its variables' names, and the part of the
/// network that they belong to.
#[derive(Clone)]
pub(crate) struct Variables<'a> {
    maker: &'a Maker<'a>,
    prefix: String,
    part: Part,
}

impl Variables<'_> {
    /// The place `name` inside this one.
    pub(crate) fn at(&self, name: &str) -> Self {
        Self { prefix: self.name(name), ..self.clone() }
    }

    /// The place of the backbone inside this one.
    pub(crate) fn backbone(&self) -> Self {
        Self { part: Part::Backbone, ..self.at("backbone") }
    }

    /// The weight of a convolution, `shape` = (O, KH, KW, I), which starts from normal numbers of
    /// variance 2 / fan-in (He et al. 2015).
    pub(crate) fn convolution(&self, shape: [usize; 4], name: &str) -> Result<Tensor> {
        let fan_in = shape[1..].iter().product::<usize>();
        let init = Init::Normal((2.0 / fan_in as f64).sqrt());
        self.make(shape.to_vec(), name, ParameterKind::ConvolutionWeight, init)
    }

    /// The weight of a convolution, `shape` = (O, KH, KW, I), which starts from normal numbers of
    /// standard deviation `deviation`.
    pub(crate) fn normal(&self, shape: [usize; 4], name: &str, deviation: f64) -> Result<Tensor> {
        self.make(shape.to_vec(), name, ParameterKind::ConvolutionWeight, Init::Normal(deviation))
    }

    /// A vector of `count` numbers that all start from `value`.
    pub(crate) fn constant(
        &self,
        count: usize,
        name: &str,
        kind: ParameterKind,
        value: f32,
    ) -> Result<Tensor> {
        self.make(vec![count], name, kind, Init::Constant(value))
    }

    fn make(&self, shape: Vec<usize>, name: &str, kind: ParameterKind, init: Init) -> Result<Tensor> {
        self.maker.make(self.name(name), shape.into(), kind, self.part, init)
    }

    fn name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}.{name}", self.prefix) }
    }
}

/// The values that a variable starts from.
#[derive(Clone, Copy)]
enum Init {
    /// One value.
    Constant(f32),
    /// Normal numbers of mean 0 and this standard deviation.
    Normal(f64),
}

impl Init {
    fn draw(self, seed: u64, name: &str, shape: &Shape) -> Vec<f32> {
        let count = shape.elem_count();
        match self {
            Self::Constant(value) => vec![value; count],
            Self::Normal(deviation) => {
                let mut values = vec![0.0; count];
                standard_normal(&mut stream(seed, &format!("initial {name}"), [0; 3]), &mut values);
                values.iter().map(|value| (deviation * f64::from(*value)) as f32).collect()
            }
        }
    }
}
