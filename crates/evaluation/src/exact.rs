//! Serialises numbers without any rounding.

/// An overlap as its counts.
pub(crate) mod counts {
    use robustseg_metrics::Overlap;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(overlap: &Overlap, serializer: S) -> Result<S::Ok, S::Error> {
        (overlap.intersection(), overlap.union()).serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Overlap, D::Error> {
        let (intersection, union) = <(Vec<u64>, Vec<u64>)>::deserialize(deserializer)?;
        if intersection.len() != union.len() {
            return Err(D::Error::custom("an intersection and a union of other classes"));
        }
        Ok(Overlap::of(intersection, union))
    }
}

/// Objects as their counts.
pub(crate) mod objects {
    use robustseg_metrics::{ObjectCounts, Objects};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(objects: &Objects, serializer: S) -> Result<S::Ok, S::Error> {
        (objects.classes(), objects.counts()).serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Objects, D::Error> {
        let (classes, counts) = <(usize, Vec<ObjectCounts>)>::deserialize(deserializer)?;
        Ok(Objects::from_counts(classes, &counts))
    }
}

/// A number as its bits. JSON has no infinity, and decimals may be rounded.
pub(crate) mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    // Serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f32, D::Error> {
        u32::deserialize(deserializer).map(f32::from_bits)
    }
}
