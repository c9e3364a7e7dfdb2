# robustseg for the CPU, with the specs and manifests of this repository in /opt/robustseg.
#   docker build --tag robustseg:cpu .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" robustseg:cpu run /opt/robustseg/experiments/smoke.yaml
# Datasets are expected in /data, which -v can mount as well.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package robustseg-driver && strip target/release/robustseg

FROM debian:bookworm-slim
COPY --from=build /source/target/release/robustseg /usr/local/bin/robustseg
COPY experiments /opt/robustseg/experiments
COPY data-manifests /opt/robustseg/data-manifests
ENV ROBUSTSEG_DATA=/data XDG_CACHE_HOME=/tmp
WORKDIR /work
ENTRYPOINT ["robustseg"]
