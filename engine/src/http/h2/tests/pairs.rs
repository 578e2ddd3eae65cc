//! Two connections of ours with each other: bytes cut anywhere, streams side by side.

use super::*;

/// One exchange.
#[derive(Clone, Debug)]
struct Plan {
    method: usize,
    fields: Vec<(usize, String)>,
    /// Sizes of the pieces that go up, and of those that come down.
    up: Vec<usize>,
    down: Vec<usize>,
    trailers: bool,
    status: u16,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let piece = prop_oneof![3 => 1_usize..100, 1 => 10_000_usize..100_000];
    let pieces = prop::collection::vec(piece, 0..5);
    let field = (0..NAMES.len(), "[a-z]{0,40}");
    let one = (
        0_usize..3,
        prop::collection::vec(field, 0..8),
        pieces.clone(),
        pieces,
        any::<bool>(),
        prop::sample::select(vec![200_u16, 201, 302, 404, 500, 503]),
    );
    let plan = one.prop_map(|(method, fields, up, down, trailers, status)| Plan {
        method,
        fields,
        up,
        down,
        trailers,
        status,
    });
    prop::collection::vec(plan, 1..12)
}

const NAMES: [&str; 6] = [
    "accept",
    "x-a",
    "x-request-id",
    "cookie",
    "grpc-timeout",
    "x-some-longer-name",
];

/// One end of one exchange: what it still sends, and what came.
#[derive(Debug, Default)]
struct End {
    key: Key,
    pieces: Vec<usize>,
    sent_end: bool,
    came: usize,
    head: Option<String>,
    trailers: bool,
    done: bool,
}

impl End {
    fn send(&mut self, connection: &mut Connection, trailers: bool) {
        while !self.sent_end && matches!(room(connection, self.key), Poll::Ready(Ok(()))) {
            match self.pieces.pop() {
                Some(size) => connection.send_data(self.key, Bytes::from(vec![b'x'; size])),
                None => {
                    let fields = trailers.then(|| {
                        let mut fields = Headers::new();
                        fields.append(
                            HeaderName::from_static("x-end"),
                            HeaderValue::from_static("1"),
                        );
                        fields
                    });
                    connection.send_end(self.key, fields).expect("open");
                    self.sent_end = true;
                }
            }
        }
    }

    fn receive(&mut self, connection: &mut Connection) {
        loop {
            let stream = connection.stream(self.key);
            let length = match stream.inbox.pop_front() {
                Some(Event::Head(response)) => {
                    self.head = Some(describe(response.status.as_u16(), &response.headers));
                    continue;
                }
                Some(Event::Data(bytes)) => bytes.len(),
                Some(Event::Small(bytes)) => bytes.len(),
                Some(Event::Trailers(_)) => {
                    self.trailers = true;
                    continue;
                }
                None => {
                    assert_eq!(stream.error, None);
                    self.done = stream.received;
                    return;
                }
            };
            self.came += length;
            connection.taken(self.key, length);
        }
    }
}

fn describe(first: u16, headers: &Headers) -> String {
    let mut text = first.to_string();
    for (name, value) in headers {
        text.push_str(&format!("\n{name}: {}", value.to_str().expect("text")));
    }
    text
}

fn fields(plan: &Plan) -> Headers {
    let field = |(name, value): &(usize, String)| {
        (
            HeaderName::from_static(NAMES[*name]),
            HeaderValue::from_str(value).expect("letters"),
        )
    };
    // One cookie: several are joined on the way.
    let mut cookies = 0;
    let mut fields: Vec<_> = plan.fields.iter().map(field).collect();
    fields.retain(|(name, _)| {
        cookies += usize::from(*name == "cookie");
        *name != "cookie" || cookies < 2
    });
    fields.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_arrives(
        plans in plans(),
        cuts in prop::collection::vec(prop_oneof![1_usize..30, 1000_usize..70_000], 1..50),
        stream_window in prop_oneof![Just(1000_u32), Just(65_536), 1000_u32..200_000],
    ) {
        let settings = Settings { stream_window, ..Settings::default() };
        let mut client = connection(Side::Client, &settings);
        let mut server = Connection::new(Side::Server, &settings, Arc::default(), Instant::now());
        let methods = [Method::GET, Method::POST, Method::PUT];
        let mut asked = Vec::new();
        for plan in &plans {
            let mut request = Request::get("host.test", "/path");
            request.method = methods[plan.method].clone();
            request.headers = fields(plan);
            let key = client.send_request(&request, false, false);
            asked.push(End { key, pieces: plan.up.clone(), ..End::default() });
        }
        let mut answered: BTreeMap<usize, End> = BTreeMap::new();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        let mut rounds = 0;
        loop {
            rounds += 1;
            prop_assert!(rounds < 200_000, "nothing moves any more");
            for (number, plan) in plans.iter().enumerate() {
                asked[number].send(&mut client, plan.trailers);
                asked[number].receive(&mut client);
            }
            while let Some(accepted) = server.accept() {
                let number = answered.len();
                let plan = &plans[number];
                let expected = describe(0, &fields(plan));
                prop_assert_eq!(describe(0, &accepted.request.headers), expected);
                prop_assert_eq!(&accepted.request.method, &methods[plan.method]);
                let mut response = Response::new(StatusCode::from_u16(plan.status).unwrap());
                response.headers = fields(plan);
                server.send_response(accepted.key, &response, false).unwrap();
                answered.insert(number, End { key: accepted.key, pieces: plan.down.clone(), ..End::default() });
            }
            for (number, end) in &mut answered {
                end.receive(&mut server);
                end.send(&mut server, plans[*number].trailers);
            }
            up.extend(written(&mut client));
            down.extend(written(&mut server));
            for (bytes, taker) in [(&mut up, &mut server), (&mut down, &mut client)] {
                let cut = cuts.next().unwrap_or(1).min(bytes.len());
                let piece: Vec<u8> = bytes.drain(..cut).collect();
                // Half of the time in memory that may be shared.
                let shared = Bytes::from(piece);
                let read = Read { bytes: &shared, shared: (cut % 2 == 0).then_some(&shared) };
                taker.receive(read, Instant::now());
                prop_assert_eq!(taker.over(), None);
            }
            let finished = asked.iter().all(|end| end.done) && answered.values().all(|end| end.done);
            if finished && answered.len() == plans.len() && up.is_empty() && down.is_empty() {
                break;
            }
        }
        for (number, plan) in plans.iter().enumerate() {
            let (up, down) = (&answered[&number], &asked[number]);
            prop_assert_eq!(up.came, plan.up.iter().sum::<usize>());
            prop_assert_eq!(down.came, plan.down.iter().sum::<usize>());
            prop_assert_eq!((up.trailers, down.trailers), (plan.trailers, plan.trailers));
            prop_assert_eq!(down.head.clone(), Some(describe(plan.status, &fields(plan))));
            server.release(up.key);
            client.release(down.key);
        }
        prop_assert!(!server.has_streams() && !client.has_streams());
    }

    #[test]
    fn arbitrary_frames_never_panic(
        list in prop::collection::vec((0_u8..12, any::<u8>(), 0_u32..6, prop::collection::vec(any::<u8>(), 0..20)), 0..20),
    ) {
        let mut bytes = [PREFACE, &settings(&[])].concat();
        bytes.extend(headers(1, false, POST));
        for (kind, flags, stream, payload) in list {
            bytes.extend(frame(kind, flags, stream, &payload));
        }
        fuzz::frames(&bytes);
        fuzz::frames(&bytes[PREFACE.len()..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::frames(&bytes);
    }
}
