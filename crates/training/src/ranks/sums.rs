//! Sums of gradients over ranks that take place while the backward pass computes other gradients.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Tensor, TensorId};
use robustseg_models::Network;
use robustseg_ops::{AllReduce, Gradients, Reducing};

use crate::Result;

/// Numbers that are added up at once: 25 MiB, above which nothing gets faster.
const BUCKET: usize = 25 << 18;

/// The sums of a backward pass. Buckets are fixed and begin in their order, so that all ranks agree,
/// whatever the order in which gradients are complete.
pub(crate) struct Sums {
    all_reduce: Arc<AllReduce>,
    buckets: Vec<Bucket>,
    /// The bucket of each variable, and its place there.
    places: HashMap<TensorId, [usize; 2]>,
    /// The first bucket that has not begun.
    next: usize,
}

/// Variables whose gradients are added up at once.
struct Bucket {
    variables: Vec<Tensor>,
    /// The complete gradients of this rank's samples.
    own: Vec<Option<Tensor>>,
    sum: Option<Reducing>,
}

impl Sums {
    /// The sums of the gradients of `network`. Its last layers come first.
    pub(crate) fn new(network: &Network, all_reduce: Arc<AllReduce>) -> Self {
        let (mut buckets, mut places) = (Vec::<Bucket>::new(), HashMap::new());
        let mut room = 0;
        let mut trainable: Vec<_> =
            network.parameters().values().filter(|parameter| parameter.is_trainable()).collect();
        trainable.sort_unstable_by_key(|parameter| Reverse(parameter.position));
        for parameter in trainable {
            let variable = parameter.var.as_tensor();
            if room == 0 {
                buckets.push(Bucket { variables: Vec::new(), own: Vec::new(), sum: None });
                room = BUCKET;
            }
            let index = buckets.len() - 1;
            let bucket = &mut buckets[index];
            places.insert(variable.id(), [index, bucket.variables.len()]);
            bucket.variables.push(variable.clone());
            bucket.own.push(None);
            room = room.saturating_sub(variable.elem_count());
        }
        Self { all_reduce, buckets, places, next: 0 }
    }

    /// Takes a complete gradient, begins the sums that have all of theirs, and drives on those that have
    /// begun.
    pub(crate) fn take(&mut self, variable: TensorId, gradient: &Tensor) -> Result<()> {
        let Some(&[bucket, place]) = self.places.get(&variable) else { return Ok(()) };
        self.buckets[bucket].own[place] = Some(gradient.clone());
        while self.buckets.get(self.next).is_some_and(|bucket| bucket.own.iter().all(Option::is_some)) {
            self.begin_next()?;
        }
        for sum in self.buckets[..self.next].iter_mut().filter_map(|bucket| bucket.sum.as_mut()) {
            if !sum.advance()? {
                break;
            }
        }
        Ok(())
    }

    /// Replaces `gradients` by their sums over all ranks. Adds up those that have changed since they
    /// were complete, or that came from elsewhere.
    pub(crate) fn finish(mut self, gradients: &mut Gradients) -> Result<()> {
        while self.next < self.buckets.len() {
            self.begin_next()?;
        }
        let mut others = Vec::new();
        for Bucket { variables, own, sum } in self.buckets {
            let mut sums = sum.map_or(Ok(Vec::new()), Reducing::finish)?.into_iter();
            for (variable, own) in variables.into_iter().zip(own) {
                let sum = own.as_ref().and_then(|_| sums.next());
                let Some(present) = gradients.get(&variable) else { continue };
                match sum.filter(|_| own.is_some_and(|own| own.id() == present.id())) {
                    Some(sum) => drop(gradients.insert(&variable, sum)),
                    None => others.push((variable, present.clone())),
                }
            }
        }
        let (variables, own): (Vec<_>, Vec<_>) = others.into_iter().unzip();
        let sums = self.all_reduce.start(&own)?.finish()?;
        for (variable, sum) in variables.iter().zip(sums) {
            gradients.insert(variable, sum);
        }
        Ok(())
    }

    /// Begins to add up the next bucket's complete gradients.
    fn begin_next(&mut self) -> Result<()> {
        let bucket = &mut self.buckets[self.next];
        let own: Vec<Tensor> = bucket.own.iter().flatten().cloned().collect();
        bucket.sum = Some(self.all_reduce.start(&own)?);
        self.next += 1;
        Ok(())
    }
}
