//! Forwarding a request to an instance that speaks HTTP/2: a place, a stream, an exchange; again where that is safe.

use super::connections::room;
use super::downstream::Downstream;
use super::exchange::{End, Exchange};
use super::replay::Replay;
use super::{RETRIES_MAX, message};
use crate::reason::Reason;
use crate::visit::Record;
use crate::visit::admit::{NoPlace, admit};
use crate::visit::intake::Intake;

/// Forwards a request and delivers its response, unless it fails before there is one.
pub async fn forward<D: Downstream>(side: &mut D, intake: &Intake, record: &mut Record) -> End {
    let request = match message::request(&intake.head, intake.te_trailers) {
        Ok(request) => request,
        Err(refusal) => return End::Failed(Reason::Refused(refusal)),
    };
    let (mut replay, mut retries) = (Replay::default(), 0);
    loop {
        let slot = match admit(side, record, None).await {
            Ok(slot) => slot,
            Err(no_place) => return without_place(no_place),
        };
        let mut room = match room(side, &slot, record).await {
            Ok(Some(room)) => room,
            Ok(None) => continue,
            Err(no_place) => return without_place(no_place),
        };
        let exchange = Exchange::begin(
            (side, &mut room),
            (intake, &mut record.finished),
            &mut replay,
            request.clone(),
        );
        let end = match exchange {
            Some(exchange) => exchange.run(&slot).await,
            None => {
                room.give_up();
                End::Again
            }
        };
        match end {
            End::Again if retries < RETRIES_MAX => {
                retries += 1;
                record.avoid(&slot);
            }
            End::Again => {
                let worker = side.worker();
                worker.report_unreachable(&slot.instance, "every attempt was refused".into());
                return End::Failed(Reason::InstanceClosed);
            }
            end => return end,
        }
    }
}

fn without_place(no_place: NoPlace) -> End {
    match no_place {
        NoPlace::Answer(reason) => End::Failed(reason),
        NoPlace::ClientGone => End::Gone,
    }
}
