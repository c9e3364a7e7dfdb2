use std::thread;

use robustseg_ranks::threads;

use super::*;
use crate::fixture;

#[test]
fn a_failure_on_rank_0_is_one_of_all_ranks() {
    let failing = threads(2).into_iter().map(|ranks| {
        thread::spawn(move || {
            let mut trainer = fixture::trainer(&fixture::config(crate::Basic {})).unwrap();
            trainer.distribute(ranks).unwrap();
            trainer.on_first(|| Err(Error::NoGradient("x".into())))
        })
    });
    let outcomes: Vec<_> = failing.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect();
    assert!(matches!(outcomes[0], Err(Error::NoGradient(_))));
    assert!(matches!(outcomes[1], Err(Error::Elsewhere)));
}
