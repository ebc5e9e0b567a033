# asd watch in a container. A detector that `asd learn` made is mounted at /pump.asd, and the folder
# into which recordings are written at /recordings:
#
#   docker build -t asd .
#   docker run --rm -v $PWD/pump.asd:/pump.asd:ro -v $PWD/recordings:/recordings:ro asd
#   arecord -f S16_LE -r 16000 | docker run --rm -i -v $PWD/pump.asd:/pump.asd:ro asd \
#       /pump.asd - --rate 16000
#
# Other commands: docker run --rm --entrypoint asd asd score --help
FROM python:3.12-slim

# The CPU build of PyTorch: a tenth of the size of the one for GPUs, which a stream does not need.
COPY tools/constraints.txt /tmp/constraints.txt
RUN grep '^torch==' /tmp/constraints.txt > /tmp/torch.txt \
    && pip install --no-cache-dir -r /tmp/torch.txt --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE /src/
COPY asd /src/asd
RUN pip install --no-cache-dir -c /tmp/constraints.txt /src \
    && rm -r /src /tmp/constraints.txt /tmp/torch.txt \
    && useradd --create-home watcher

USER watcher
ENV OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp NUMBA_CACHE_DIR=/tmp
STOPSIGNAL SIGTERM
ENTRYPOINT ["asd", "watch"]
CMD ["/pump.asd", "/recordings", "--existing"]
