# syntax=docker/dockerfile:1
# docker buildx build --platform linux/amd64,linux/arm64 -t alphacut .
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN python -m venv /opt/alphacut \
 && /opt/alphacut/bin/pip install --no-cache-dir ".[serve,heif,matting]" \
 # PyMatting compiles for a minute on first import, which no request should have to wait for. The
 # compiled code is only found in a folder that is also writable: not beside the library.
 && NUMBA_CACHE_DIR=/var/cache/numba /opt/alphacut/bin/python -c "import pymatting"

FROM python:3.13-slim
COPY --from=build /opt/alphacut /opt/alphacut
COPY --from=build --chown=10001:10001 /var/cache/numba /var/cache/numba
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin alphacut
USER 10001:10001
ENV PATH=/opt/alphacut/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/var/cache/numba \
    ALPHACUT_HOST=0.0.0.0 \
    ALPHACUT_LOG=json
EXPOSE 7000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('ALPHACUT_PORT', 7000)), timeout=2); c.request('GET', '/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["alphacut"]
CMD ["serve"]
