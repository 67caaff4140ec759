//! Replies that take too long, and those that may.

use std::time::Duration;

use super::{Stand, TIMEOUT, seq_of, value};
use crate::backend::{Failure, Received};

#[tokio::test]
async fn a_late_reply_is_dropped_and_the_next_one_is_not() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.now += TIMEOUT / 2;
    stand.get();
    stand.flush();
    assert_eq!(stand.connection.next_deadline(), Some(stand.now + TIMEOUT / 2));
    assert_eq!(stand.expire(TIMEOUT / 2), (vec![0], Ok(())));
    stand.say(&[value(0, b"late"), value(1, b"in time")].concat());
    let replies = stand.replies(2).await;
    assert_eq!((replies[0].0, replies[1].0), (u32::MAX, 1));
    assert_eq!(replies[1].1, value(1, b"in time"));
    assert_eq!(stand.connection.next_deadline(), None);
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_what_was_not_sent_stays() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.flush();
    assert_eq!(stand.expire(TIMEOUT), (vec![0], Ok(())), "one timeout proves nothing");
    stand.get();
    assert_eq!(stand.expire(TIMEOUT), (vec![1], Err(Failure::TimedOut)));
    assert_eq!(stand.close(false), [0_u32; 0], "both have been told");
    for _ in 0..3 {
        stand.get();
    }
    // Nobody is silent while there is no connection.
    assert_eq!(stand.expire(TIMEOUT), (vec![2, 3, 4], Ok(())));
    stand.get();
    assert_eq!(stand.close(false), [0_u32; 0]);
    stand.connect().await;
    stand.greet().await;
    assert_eq!(stand.asked(), "get key:5\r\n", "what has timed out is not sent");
}

#[tokio::test]
async fn a_reply_that_is_passed_on_is_late_only_when_it_stops() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.get();
    stand.flush();
    let long = value(0, &[7; 100_000]);
    for (number, stretch) in long[..80_000].chunks(20_000).enumerate() {
        stand.say(stretch);
        stand.receive().await.unwrap();
        let late = if number == 1 { vec![1] } else { vec![] };
        assert_eq!(stand.expire(TIMEOUT * 2 / 3), (late, Ok(())), "stretch {number}");
    }
    let stop = stand.connection.next_deadline().unwrap();
    assert_eq!(stop, stand.now + TIMEOUT / 3 + Duration::from_nanos(1));
    assert!(stand.connection.is_streaming());
    assert_eq!(stand.expire(stop - stand.now), (vec![], Err(Failure::TimedOut)));
    assert_eq!(stand.close(true), [0]);
}

#[tokio::test]
async fn a_late_long_reply_was_passed_on_to_nobody() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.set(1);
    stand.flush();
    assert_eq!(stand.expire(TIMEOUT / 2).0, [0_u32; 0]);
    stand.now += TIMEOUT / 2;
    let mut late = Vec::new();
    stand.connection.expire(stand.now, false, |e| late.push(e.ask.to)).unwrap();
    stand.get();
    stand.flush();
    stand.say(&value(0, &[7; 100_000])[..50_000]);
    stand.receive().await.unwrap();
    assert!(!stand.connection.is_streaming(), "the client of request 2 has got nothing");
    assert_eq!(stand.close(false), [2]);
}

#[tokio::test]
async fn a_paused_connection_is_not_a_silent_one() {
    let mut stand = Stand::ready().await;
    stand.taken.pause = true;
    stand.get();
    stand.get();
    stand.get();
    stand.get();
    stand.flush();
    stand.say(&value(0, &[7; 100_000])[..50_000]);
    assert_eq!(stand.receive().await, Ok(Received::Paused));
    let mut late = Vec::new();
    for _ in 0..5 {
        stand.now += TIMEOUT;
        stand.connection.expire(stand.now, true, |e| late.push(seq_of(e.ask.to))).unwrap();
    }
    assert_eq!(late, [Some(1), Some(2), Some(3)], "the others do time out");
    assert!(stand.expire(TIMEOUT / 2).1.is_ok(), "it has its time again after the pause");
}
