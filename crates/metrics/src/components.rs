//! Connected components of label maps.

use std::ops::Range;

/// Neighbouring pixels of one class in one row, and their connected component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) class: u8,
    /// Its pixels, counted along the rows of the map.
    pub(crate) pixels: Range<usize>,
    /// Pixels of the component.
    pub(crate) area: u64,
    /// Whether the run is the component's first.
    pub(crate) is_first: bool,
}

/// The runs of `map`, in rows of `width` pixels. Pixels of a class are connected through their eight
/// neighbours.
pub(crate) fn components(map: &[u8], width: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut parent: Vec<usize> = Vec::new();
    // The runs of the row above.
    let mut above = 0..0;
    for (row, pixels) in map.chunks(width).enumerate() {
        let (first, mut start) = (runs.len(), row * width);
        for same in pixels.chunk_by(|a, b| a == b) {
            let pixels = start..start + same.len();
            start = pixels.end;
            let own = runs.len();
            parent.push(own);
            // A run above touches this one, if only at a corner.
            while above.start < above.end && runs[above.start].pixels.end + width < pixels.start {
                above.start += 1;
            }
            for other in above.clone() {
                if runs[other].pixels.start + width > pixels.end {
                    break;
                }
                if runs[other].class == same[0] {
                    join(&mut parent, own, other);
                }
            }
            runs.push(Run { class: same[0], pixels, area: 0, is_first: false });
        }
        above = first..runs.len();
    }
    for index in 0..runs.len() {
        let root = root(&mut parent, index);
        runs[root].area += runs[index].pixels.len() as u64;
    }
    for index in 0..runs.len() {
        // The root comes first, so its area is complete and stays.
        let root = root(&mut parent, index);
        (runs[index].area, runs[index].is_first) = (runs[root].area, root == index);
    }
    runs
}

/// Joins the components of two runs in the forest `parent`. The first run becomes the root.
fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// The root of `run` in the forest `parent`, whose paths it shortens.
fn root(parent: &mut [usize], mut run: usize) -> usize {
    while parent[run] != run {
        parent[run] = parent[parent[run]];
        run = parent[run];
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Area and first pixel of each pixel's component, by flooding from it.
    fn flooded(map: &[u8], width: usize) -> Vec<(u64, usize)> {
        let height = map.len() / width;
        let flood = |start: usize| {
            let (mut seen, mut open) = (vec![false; map.len()], vec![start]);
            seen[start] = true;
            while let Some(pixel) = open.pop() {
                let (x, y) = (pixel % width, pixel / width);
                for y in y.saturating_sub(1)..(y + 2).min(height) {
                    for other in (x.saturating_sub(1)..(x + 2).min(width)).map(|x| y * width + x) {
                        if !seen[other] && map[other] == map[pixel] {
                            seen[other] = true;
                            open.push(other);
                        }
                    }
                }
            }
            let area = seen.iter().filter(|seen| **seen).count() as u64;
            (area, seen.iter().position(|seen| *seen).unwrap_or(start))
        };
        (0..map.len()).map(flood).collect()
    }

    proptest! {
        #[test]
        fn components_are_those_of_a_flood(
            (map, width) in (1_usize..10, 1_usize..9).prop_flat_map(|(width, height)| {
                (prop::collection::vec(0_u8..3, width * height), Just(width))
            })
        ) {
            let (runs, flooded) = (components(&map, width), flooded(&map, width));
            prop_assert_eq!(runs.iter().map(|run| run.pixels.len()).sum::<usize>(), map.len());
            for Run { class, pixels, area, is_first } in runs {
                prop_assert_eq!(is_first, pixels.clone().any(|pixel| flooded[pixel].1 == pixel));
                for pixel in pixels {
                    prop_assert_eq!((map[pixel], flooded[pixel].0), (class, area));
                }
            }
        }
    }

    #[test]
    fn corners_connect_and_the_ends_of_rows_do_not() {
        let sizes = |map: &[u8], width| components(map, width).iter().map(|run| run.area).collect::<Vec<_>>();
        assert_eq!(sizes(&[1, 0, 0, 1], 2), [2, 2, 2, 2]);
        assert_eq!(sizes(&[0, 0, 1, 1, 0, 0], 3), [4, 1, 1, 4]);
        assert_eq!(sizes(&[2; 6], 3), [6, 6]);
        assert!(components(&[], 3).is_empty());
    }
}
