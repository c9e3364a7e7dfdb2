//! Attacks that look for a small perturbation.

mod scene;

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{AlmaProx, Attack, AttackConfig, Case, Cost, Counted, Dag, IGNORE_LABEL, Result};
use robustseg_random::stream;
use scene::{Scene, values};

#[test]
fn alma_prox_finds_the_smallest_perturbation_of_a_linear_model() -> Result<()> {
    // Class 0 where red exceeds 0.5. The first pixel needs a change of 0.1, the second one of 0.05.
    let model = |image: &Tensor| {
        let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?.affine(10.0, -5.0)?;
        Tensor::cat(&[&red, &red.zeros_like()?], 3)?.contiguous()
    };
    let image = Tensor::new(&[[[[0.6_f32, 0.55]], [[0.2, 0.2]], [[0.2, 0.2]]]], &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 2), DType::U8, &Device::Cpu)?;
    let case = Case::new(&model, &image, &label)?;
    let alma = AlmaProx { alpha: 0.002, steps: 200, wrong: 1.0 };
    let run = |limit: f64| -> Result<(Vec<f32>, f32)> {
        let found = alma.perturb(&case, limit, &mut stream(0, "unused", [0; 3]))?;
        Ok((values(&found.image), values(&found.epsilon)[0]))
    };
    let (pixels, epsilon) = run(f64::INFINITY)?;
    assert!(epsilon > 0.1 && epsilon < 0.103, "{epsilon}");
    assert!(pixels[0] < 0.5 && pixels[1] < 0.5 && pixels[2..] == [0.2; 4], "{pixels:?}");
    // Within this limit only the second pixel can be wrong.
    let (pixels, epsilon) = run(0.07)?;
    assert!(epsilon <= 0.07 && pixels[0] > 0.5 && pixels[1] < 0.5, "{pixels:?} {epsilon}");
    Ok(())
}

#[test]
fn alma_prox_needs_less_than_dag() -> Result<()> {
    let (mut alma_sum, mut dag_sum) = (0.0, 0.0);
    for seed in 0..6 {
        let scene = Scene::new(seed, 4, 0.3, 0.7)?;
        let wrong = 0.9;
        let dag = scene.run(&AttackConfig::new(Dag { alpha: 0.002, steps: 400, wrong }, f64::INFINITY), 1)?;
        let alma = AlmaProx { alpha: 0.01, steps: 300, wrong };
        let alma = scene.run(&AttackConfig::new(alma, f64::INFINITY), 1)?;
        let count = |mask: Tensor| -> Result<Vec<f32>> {
            Ok(mask.to_dtype(DType::F32)?.flatten_from(1)?.sum(1)?.to_vec1()?)
        };
        let labelled = count(scene.label.ne(IGNORE_LABEL)?)?;
        let succeeds = |image: &Tensor| -> Result<Vec<bool>> {
            let right = count(scene.predict(image)?.eq(&scene.label)?)?;
            let pairs = right.iter().zip(&labelled);
            Ok(pairs
                .map(|(right, labelled)| f64::from(labelled - right) >= wrong * f64::from(*labelled))
                .collect())
        };
        let (dag_norms, alma_norms) = (values(&dag.epsilon), values(&alma.epsilon));
        let both = succeeds(&dag.image)?.into_iter().zip(succeeds(&alma.image)?).enumerate();
        for (index, (dag, alma)) in both.filter(|(_, (dag, _))| *dag) {
            assert!(dag && alma, "image {index} of scene {seed}");
            alma_sum += alma_norms[index];
            dag_sum += dag_norms[index];
        }
    }
    assert!(dag_sum > 0.0 && alma_sum <= dag_sum, "{alma_sum} {dag_sum}");
    Ok(())
}

#[test]
fn a_step_costs_a_forward_and_a_backward_pass() -> Result<()> {
    let scene = Scene::new(11, 3, 0.2, 0.8)?;
    let model = |image: &Tensor| scene.logits(image);
    let counted = Counted::new(&model);
    let alma = AttackConfig::new(AlmaProx { steps: 4, ..AlmaProx::default() }, 0.1);
    alma.perturb(&scene.case(&counted)?, &mut stream(0, "unused", [0; 3]))?;
    assert_eq!(counted.take(), Cost { forward: 8, backward: 8 });
    assert_eq!(alma.attack().backward_passes(3), 12);
    Ok(())
}
