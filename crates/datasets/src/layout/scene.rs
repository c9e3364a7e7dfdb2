//! Generated scenes: textured shapes on a textured ground.
//!
//! Every class has a colour and a texture. The colours of objects vary so much that neighbouring
//! classes overlap, and only the texture distinguishes them. Light, contrast and noise vary between
//! scenes. The shape is independent of the class. A thin border around each object is not labelled,
//! as in PASCAL VOC.

use std::f64::consts::{PI, TAU};

use rand::RngExt;
use robustseg_random::{ChaCha8Rng, standard_normal, stream};

use crate::image::{IGNORE_LABEL, Image, LabelMap};

/// Number of classes with a colour, including the ground.
pub(super) const MAX_CLASSES: usize = COLOURS.len();

/// Mean colour of each class. The first is the ground's.
const COLOURS: [[f64; 3]; 8] = [
    [0.45, 0.45, 0.42],
    [0.64, 0.42, 0.36],
    [0.60, 0.54, 0.30],
    [0.34, 0.46, 0.64],
    [0.36, 0.60, 0.44],
    [0.58, 0.36, 0.60],
    [0.30, 0.56, 0.60],
    [0.66, 0.60, 0.56],
];

/// Increases with every change to the scenes of a seed.
pub(super) const VERSION: u32 = 1;

/// The largest deviation of an object's colour from its class's, per channel.
const COLOUR_SPREAD: f64 = 0.12;
/// Contrast of the textures.
const CONTRAST: f64 = 0.10;
/// Standard deviation of the noise.
const NOISE: f32 = 0.04;
/// Half the width of the unlabelled border in pixels.
const BORDER: f64 = 1.5;

/// The scenes of a split. Each is a function of these fields and its index.
#[derive(Clone, Debug)]
pub(super) struct Scenes {
    /// Rows per scene.
    pub(super) height: usize,
    /// Pixels per row of a scene.
    pub(super) width: usize,
    pub(super) seed: u64,
    /// Distinguishes the scenes of different splits.
    pub(super) purpose: String,
    /// Number of classes, including the ground.
    pub(super) classes: usize,
}

impl Scenes {
    /// The scene at `index`.
    pub(super) fn draw(&self, index: usize) -> (Image, LabelMap) {
        let Self { height, width, seed, .. } = *self;
        let random = &mut stream(seed, &self.purpose, [index as u64, 0, 0]);
        let ground = Surface::new(0, random);
        let count = random.random_range(2..=4);
        let objects: Vec<Object> =
            (0..count).map(|_| Object::new(self.classes, width as f64, height as f64, random)).collect();
        let light = between(random, 0.85, 1.15);
        let mut noise = vec![0.0; height * width * 3];
        standard_normal(random, &mut noise);

        let mut image = Vec::with_capacity(noise.len());
        let mut label = Vec::with_capacity(height * width);
        for y in 0..height {
            for x in 0..width {
                let (px, py) = (x as f64 + 0.5, y as f64 + 0.5);
                let (mut surface, mut class) = (&ground, 0);
                for object in &objects {
                    let distance = object.distance(px, py);
                    if distance < 0.0 {
                        (surface, class) = (&object.surface, object.class);
                    }
                    if distance.abs() <= BORDER {
                        class = IGNORE_LABEL;
                    }
                }
                label.push(class);
                for channel in 0..3 {
                    let value = surface.value(px, py, channel) * light;
                    let noise = NOISE * noise[image.len()];
                    image.push(((value as f32 + noise) * 255.0).round().clamp(0.0, 255.0) as u8);
                }
            }
        }
        (Image { width, height, data: image }, LabelMap { width, height, data: label })
    }
}

/// Colour and texture of the ground or an object.
#[derive(Debug)]
struct Surface {
    colour: [f64; 3],
    texture: Texture,
    /// Wave numbers and phases of two waves.
    waves: [[f64; 3]; 2],
}

/// How the two waves are combined.
#[derive(Clone, Copy, Debug)]
enum Texture {
    /// Two long waves.
    Clouds,
    /// The wave along the rows.
    Upright,
    /// The wave down the columns.
    Level,
    /// The sign of their product.
    Checks,
    /// The areas where both waves are high.
    Dots,
}

impl Surface {
    fn new(class: usize, random: &mut ChaCha8Rng) -> Self {
        let textures = [Texture::Upright, Texture::Level, Texture::Checks, Texture::Dots];
        let texture = if class == 0 { Texture::Clouds } else { textures[(class - 1) % textures.len()] };
        let colour = COLOURS[class].map(|mean| mean + between(random, -COLOUR_SPREAD, COLOUR_SPREAD));
        let (shortest, longest) = if class == 0 { (20.0, 40.0) } else { (7.0, 10.0) };
        let tilt = between(random, -0.25, 0.25);
        let waves = [tilt, tilt + PI / 2.0].map(|angle| {
            let number = TAU / between(random, shortest, longest);
            [number * angle.cos(), number * angle.sin(), between(random, 0.0, TAU)]
        });
        Self { colour, texture, waves }
    }

    fn value(&self, x: f64, y: f64, channel: usize) -> f64 {
        let [along, down] = self.waves.map(|[by_x, by_y, phase]| (by_x * x + by_y * y + phase).sin());
        let pattern = match self.texture {
            Texture::Clouds => 0.5 * (along + down),
            Texture::Upright => along,
            Texture::Level => down,
            Texture::Checks => (along * down).signum(),
            Texture::Dots => {
                if along > 0.0 && down > 0.0 {
                    1.5
                } else {
                    -0.5
                }
            }
        };
        self.colour[channel] + CONTRAST * pattern
    }
}

/// A shape with a class.
#[derive(Debug)]
struct Object {
    class: u8,
    surface: Surface,
    shape: Shape,
    centre: [f64; 2],
    /// Sine and cosine of its rotation.
    turn: (f64, f64),
}

#[derive(Debug)]
enum Shape {
    Disc { radius: f64 },
    Rectangle { half: [f64; 2] },
    Triangle { inner: f64 },
}

impl Object {
    fn new(classes: usize, width: f64, height: f64, random: &mut ChaCha8Rng) -> Self {
        let class = random.random_range(1..classes);
        let radius = width.min(height) * between(random, 0.17, 0.30);
        let shape = match random.random_range(0..3) {
            0 => Shape::Disc { radius },
            1 => Shape::Rectangle { half: [radius * between(random, 0.7, 1.3), radius * 0.8] },
            _ => Shape::Triangle { inner: radius * 0.7 },
        };
        Self {
            class: class as u8,
            surface: Surface::new(class, random),
            shape,
            centre: [between(random, 0.1, 0.9) * width, between(random, 0.1, 0.9) * height],
            turn: between(random, 0.0, TAU).sin_cos(),
        }
    }

    /// Distance from the outline in pixels, negative inside. Beyond corners, the distance to the
    /// line of the nearer edge.
    fn distance(&self, x: f64, y: f64) -> f64 {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let (sin, cos) = self.turn;
        let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
        match self.shape {
            Shape::Disc { radius } => dx.hypot(dy) - radius,
            Shape::Rectangle { half } => (u.abs() - half[0]).max(v.abs() - half[1]),
            Shape::Triangle { inner } => {
                let slope = 3_f64.sqrt() / 2.0;
                (slope * u.abs() - 0.5 * v).max(v) - inner
            }
        }
    }
}

fn between(random: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * random.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes(split: &str, seed: u64) -> Scenes {
        Scenes { height: 72, width: 96, seed, purpose: format!("scenes of {split}"), classes: 5 }
    }

    #[test]
    fn a_scene_is_a_function_of_seed_split_and_index() {
        let first = scenes("train", 1).draw(4);
        assert_eq!(first, scenes("train", 1).draw(4));
        for other in [scenes("val", 1).draw(4), scenes("train", 2).draw(4), scenes("train", 1).draw(5)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn all_classes_occur_and_borders_are_not_labelled() {
        let mut pixels = [0_usize; 256];
        for index in 0..40 {
            for value in scenes("train", 1).draw(index).1.data {
                pixels[usize::from(value)] += 1;
            }
        }
        let all: usize = pixels.iter().sum();
        let share = |class: usize| pixels[class] as f64 / all as f64;
        assert!((0.3..0.8).contains(&share(0)), "{}", share(0));
        assert!((1..5).all(|class| (0.02..0.25).contains(&share(class))));
        assert!((0.02..0.15).contains(&share(255)), "{}", share(255));
        assert_eq!(pixels[5..255].iter().sum::<usize>(), 0);
    }

    #[test]
    fn colour_alone_does_not_tell_the_classes_apart() {
        let nearest = |colour: [f64; 3]| {
            let distance = |class: &usize| -> f64 {
                COLOURS[*class].iter().zip(colour).map(|(a, b)| (a - b).powi(2)).sum()
            };
            (0..5).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0) as u8
        };
        let (mut right, mut all) = (0.0, 0.0);
        for index in 0..20 {
            let (image, map) = scenes("train", 1).draw(index);
            for (pixel, label) in image.data.chunks_exact(3).zip(&map.data) {
                if *label != IGNORE_LABEL {
                    let colour = [0, 1, 2].map(|channel| f64::from(pixel[channel]) / 255.0);
                    right += f64::from(u8::from(nearest(colour) == *label));
                    all += 1.0;
                }
            }
        }
        let accuracy: f64 = right / all;
        assert!((0.4..0.8).contains(&accuracy), "{accuracy}");
    }
}
