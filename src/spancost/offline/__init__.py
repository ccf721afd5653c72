"""Price stored traces with the meters of live spans: OTLP JSON and Jaeger JSON, without OpenTelemetry's SDK.

    files ─▶ otlp, jaeger ─▶ pricing ─▶ table, charges ─▶ calls ─▶ rollup
    (documents)   (spans)     (meters)   (columns)        (once)   (rows)

Two passes. While files are read, each span leaves some 40 bytes in columns, and what its meter charges. When all is
read, parents are found (they may stand after their children, on other lines and in other files), local roots follow
from them, calls seen twice are charged once, and the charges are added up.
"""
