//! Which pod gets a request: a canary's share, and a pod that fails.

use crate::cases::{Cases, ensure};
use crate::load::Load;
use crate::support::http1::{Connection, get};
use crate::support::poll;
use crate::support::service::Service;
use crate::support::{PATIENCE, http1::Response};
use crate::world::{ECHO, ECHO_HOST, Scene, World};

const PODS: &[&str] = &["caller-1", "echo-1", "echo-2"];

fn start(yaml: &str) -> (World, Service, Service) {
    let world = World::new(Scene {
        pods: PODS,
        yaml,
        ..Scene::default()
    });
    let service = |name| Service::http(&world.pod(name).namespace, name, 8080);
    let (first, second) = (service("echo-1"), service("echo-2"));
    (world, first, second)
}

#[test]
fn a_canary_gets_its_share() {
    let (world, stable, canary) = start(CANARY);
    let mut cases = Cases::new("mesh canary");
    // 2 % off the share would be five standard deviations.
    cases.check("one in ten", || {
        let request = get("/").host(ECHO_HOST);
        let caller = &world.pod("caller-1").namespace;
        Load::send(caller, (ECHO, 80).into(), &request, 4, 5_600);
        let (stable, canary) = (stable.requests(), canary.requests());
        ensure(stable + canary == 5_600, || {
            format!("{stable} and {canary} are not all")
        })?;
        let share = canary as f64 / 5_600.0;
        ensure((share - 0.1).abs() < 0.02, || {
            format!("{share} instead of 0.1")
        })
    });
    cases.check("everything, by a header", || {
        let before = canary.requests();
        let request = get("/").host(ECHO_HOST).header("x-canary", "yes");
        Load::send(
            &world.pod("caller-1").namespace,
            (ECHO, 80).into(),
            &request,
            1,
            100,
        );
        let got = canary.requests() - before;
        ensure(got == 100, || format!("{got} of 100"))
    });
    cases.finish();
}

#[test]
fn a_failing_pod_is_ejected() {
    let (world, good, bad) = start(EJECTION);
    bad.answer(500);
    let mut cases = Cases::new("mesh ejection");
    let caller = world.pod("caller-1");
    let mut connection = caller.connect((ECHO, 80).into()).unwrap();
    let request = get("/").host(ECHO_HOST).bytes();
    let mut ask = || -> Response {
        connection.send(&request);
        connection.response(false).unwrap()
    };
    cases.check("its failures reach the client until the fifth", || {
        for asked in 0..100 {
            let status = ask().status;
            let (good, bad) = (good.requests(), bad.requests());
            ensure(good + bad == asked + 1, || {
                format!("{good} and {bad} of {asked}")
            })?;
            if bad == 5 {
                return ensure(status == 500, || status.to_string());
            }
        }
        Err("never five".to_owned())
    });
    cases.check("the fifth is its last", || {
        let ejected = poll(PATIENCE, || {
            let (_, clusters) = caller.admin("GET", "/clusters");
            clusters
                .lines()
                .any(|line| {
                    line.starts_with("outbound|80||echo.shop.svc.cluster.local::10.1.0.22:8080::")
                        && line.ends_with("::health_flags::/failed_outlier_check")
                })
                .then_some(())
        });
        ensure(ejected.is_some(), || {
            caller.admin("GET", "/stats?filter=outlier").1
        })?;
        let before = good.requests();
        for _ in 0..100 {
            let status = ask().status;
            ensure(status == 200, || status.to_string())?;
        }
        let (good, bad) = (good.requests() - before, bad.requests());
        ensure((good, bad) == (100, 5), || format!("{good} and {bad}"))
    });
    cases.check("a pod that is well again is let in after its time", || {
        bad.answer(200);
        let back = poll(PATIENCE, || {
            ask();
            (bad.requests() > 5).then_some(())
        });
        ensure(back.is_some(), || "it stays out".to_owned())
    });
    drop::<Connection>(connection);
    cases.finish();
}

const CANARY: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: shop}
spec:
  host: echo.shop.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: shop}
spec:
  hosts: [echo.shop.svc.cluster.local]
  http:
  - match: [{headers: {x-canary: {exact: 'yes'}}}]
    route: [{destination: {host: echo.shop.svc.cluster.local, subset: v2}}]
  - route:
    - {destination: {host: echo.shop.svc.cluster.local, subset: v1}, weight: 90}
    - {destination: {host: echo.shop.svc.cluster.local, subset: v2}, weight: 10}
";

const EJECTION: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: shop}
spec:
  host: echo.shop.svc.cluster.local
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 5, interval: 500ms, baseEjectionTime: 3s, maxEjectionPercent: 100}
";
