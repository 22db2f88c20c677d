# The gateway's image: two stages, no compiler, no root, a read-only file system.
#
#   docker build -t llm-gateway .
#   docker run --read-only -p 8080:8080 -v "$PWD/gateway.yaml:/etc/gateway/config.yaml:ro" llm-gateway
#
# The master process reaps its workers and forwards signals, so PID 1 needs no init.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/gateway
# The lock first: a change of the code alone reuses this layer.
COPY requirements.lock ./
RUN /opt/gateway/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The folder of config.yaml holds what a configuration names by relative paths; mount it.
WORKDIR /etc/gateway
# A number, so that Kubernetes can verify `runAsNonRoot` without reading /etc/passwd.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# /livez answers without a token. The container of an orchestrator has probes instead.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/livez', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/etc/gateway/config.yaml"]
