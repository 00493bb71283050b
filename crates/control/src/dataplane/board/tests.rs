//! The changes told, one after the other, make the same table as the whole one told at once.

use super::*;
use apron_link::proxy::Upstream;
use proptest::prelude::*;
use std::net::SocketAddr;

fn route(service: u8, instances: &[u8]) -> Route {
    let upstream = |instance: &u8| Upstream {
        instance: format!("i{service}-{instance}"),
        address: SocketAddr::from(([10, 0, service, *instance], 8080)),
    };
    Route {
        service: format!("s{service}"),
        hosts: vec![format!("s{service}.example")],
        upstreams: instances.iter().map(upstream).collect(),
        ..Route::default()
    }
}

fn certificate(id: u8, content: u8) -> Certificate {
    Certificate {
        id: format!("c{id}"),
        names: vec![format!("c{id}.example")],
        chain_pem: content.to_string(),
        key_pem: String::new(),
    }
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let instances = proptest::collection::btree_set(0..4_u8, 0..3);
    proptest::collection::btree_map(0..6_u8, instances, 0..6).prop_map(|routes| {
        let one = |(service, set): (u8, BTreeSet<u8>)| {
            route(service, &set.into_iter().collect::<Vec<_>>())
        };
        routes.into_iter().map(one).collect()
    })
}

fn certificates() -> impl Strategy<Value = Vec<Certificate>> {
    let map = proptest::collection::btree_map(0..3_u8, 0..3_u8, 0..3);
    map.prop_map(|map| map.into_iter().map(|(id, c)| certificate(id, c)).collect())
}

fn update() -> impl Strategy<Value = Update> {
    let one = (
        0..6_u8,
        proptest::option::of(proptest::collection::vec(0..4_u8, 0..3)),
    );
    prop_oneof![
        1 => (routes(), certificates())
            .prop_map(|(routes, certificates)| Update::Whole { routes, certificates }),
        6 => one.prop_map(|(service, instances)| Update::Service {
            service: format!("s{service}"),
            route: instances.map(|set| {
                let set: BTreeSet<u8> = set.into_iter().collect();
                route(service, &set.into_iter().collect::<Vec<_>>())
            }),
        }),
        1 => certificates().prop_map(Update::Certificates),
    ]
}

fn sorted(mut table: RouteTable) -> RouteTable {
    table.routes.sort_by(|a, b| a.service.cmp(&b.service));
    table.certificates.sort_by(|a, b| a.id.cmp(&b.id));
    table
}

fn begun() -> Board {
    let mut board = Board::default();
    board.put(Update::Whole {
        routes: Vec::new(),
        certificates: Vec::new(),
    });
    board
}

proptest! {
    /// Followers that join at any time and hear now and then have the board's table whenever they have heard.
    #[test]
    fn changes_add_up_to_the_table(
        steps in proptest::collection::vec((update(), any::<[bool; 3]>(), any::<bool>()), 1..60),
    ) {
        let mut board = begun();
        let mut followers: Vec<RouteTable> = Vec::new();
        for (update, hears, joins) in steps {
            let before = board.generation();
            let number = board.put(update);
            prop_assert_eq!(board.generation(), Some(number));
            prop_assert!(Some(number) >= before);
            for (follower, hears) in followers.iter_mut().zip(hears.into_iter().cycle()) {
                if hears {
                    let change = board.change_since(follower.generation).unwrap();
                    follower.apply(&change);
                    prop_assert_eq!(sorted(follower.clone()), board.table().unwrap());
                }
            }
            if joins && followers.len() < 3 {
                followers.push(board.table().unwrap());
            }
        }
    }

    /// What has left is known until every follower has a table without it, and what is in the table is in it.
    #[test]
    fn instances_are_in_the_table_or_have_left(steps in proptest::collection::vec(update(), 1..40)) {
        let mut board = begun();
        let mut ever = BTreeSet::new();
        for update in steps {
            let before: BTreeSet<String> = board.instances.clone();
            let number = board.put(update);
            let in_table: BTreeSet<String> = board
                .routes()
                .flat_map(|route| route.upstreams.iter().map(|u| u.instance.clone()))
                .collect();
            prop_assert_eq!(&in_table, &board.instances);
            for gone in before.difference(&in_table) {
                prop_assert_eq!(board.left_at(gone), number);
            }
            ever.extend(in_table);
        }
        let newest = board.generation().unwrap();
        board.all_follow(newest);
        for instance in ever {
            prop_assert_eq!(board.left_at(&instance), 0);
        }
    }
}

#[test]
fn what_is_no_different_makes_no_new_table() {
    let mut board = begun();
    let update = Update::Service {
        service: "s1".to_owned(),
        route: Some(route(1, &[1])),
    };
    let first = board.put(update.clone());
    assert_eq!(board.put(update), first);
    let nothing = board.change_since(first).unwrap();
    assert!(nothing.routes.is_empty() && nothing.removed.is_empty());
}

#[test]
fn numbers_go_on_from_a_table_of_a_former_run() {
    let mut board = Board::default();
    board.seen(57, false);
    assert_eq!(board.generation(), None);
    let first = board.put(Update::Whole {
        routes: Vec::new(),
        certificates: Vec::new(),
    });
    assert_eq!(first, 58);
    board.seen(58, true);
    assert_eq!(board.generation(), Some(58));
    board.seen(58, false);
    assert_eq!(board.generation(), Some(59));
    board.seen(12, false);
    assert_eq!(board.generation(), Some(59));
    let change = board.change_since(58).unwrap();
    assert_eq!((change.base, change.generation), (58, 59));
}

#[test]
fn a_follower_that_is_too_far_behind_is_told_so() {
    let mut board = begun();
    let base = board.generation().unwrap();
    for index in 0..=CHANGES_MAX {
        let service = format!("s{}", index % 7);
        let route = Route {
            service: service.clone(),
            max_concurrency: u32::try_from(index).unwrap(),
            ..Route::default()
        };
        board.put(Update::Service {
            service,
            route: Some(route),
        });
    }
    assert_eq!(board.change_since(base), None);
    assert!(board.changes.len() <= CHANGES_MAX);
    let late = board.generation().unwrap() - 3;
    assert_eq!(board.change_since(late).unwrap().routes.len(), 3);
}
