//! What the proxy tells: access logs in Envoy's formats, Envoy's and Istio's statistics, spans.
