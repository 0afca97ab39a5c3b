//! Clusters as their users meet them: the real kubectl, real containers, real packets.

mod dns;
mod documents;
mod endpoints;
mod faults;
mod healing;
mod identity;
mod images;
mod input;
mod kubeconfig;
mod lifecycle;
mod load_balancer;
mod tutorial;
mod volumes;
