"""Networks as ONNX files, which ONNX Runtime, OpenVINO and browsers run."""
