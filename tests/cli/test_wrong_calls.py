# SPDX-License-Identifier: Apache-2.0
"""What a careless user calls and types, a line each, with what the error says: what was found, and what to do."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bnn
import conftest
import hostile_text
from bnn import events, snn
from bnn.ir.graph import Graph
from bnn.ir.ops import input_node
from bnn.snn.convert import convert
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Reset
from bnn.streams import recordings
from snn.small import small_network
from test_wrong_arguments import Strange, learner, vast

#: An expression | a part of its error; ... stands for anything.
CALLS = r"""
bnn.load("missing.bnn") | missing.bnn: cannot be opened: No such file or directory; give the path of a .bnn file
bnn.load("") | '': cannot be opened: No such file or directory; give the path of a .bnn file, made by ... bnn.compile
bnn.load("folder") | folder: cannot be opened: Is a directory; give the .bnn file itself
bnn.load("a.png") | a.png: not a .bnn file: the first eight bytes are not its signature; make one with bnn compile
bnn.load("net.snn") | is a .snn file, a network over time, and not a .bnn file; use ... bnn.snn.load
bnn.load("cut.bnn") | file size: found 6903, expected 6912; copy the file again, or compile the model again
bnn.load(model) | path: found Model, expected a string or an os.PathLike
bnn.load(model.to_bytes()) | a path cannot contain a null character; if these are the contents of a file, use from_bytes
bnn.load("x" * 5000) | File name too long
bnn.load("net.bnn", kernels="gpu") | kernels: found 'gpu', expected a family that this processor runs: ... portable
bnn.load("net.bnn", kernel="avx2") | unexpected keyword argument 'kernel'
bnn.load("net.bnn", max_bytes=10) | expected at most 10; if you trust the file, open it with a larger max_bytes=
bnn.read_picture(model, "missing.png") | missing.png: cannot be opened: No such file or directory; expected
bnn.read_picture(model, x) | picture: found ndarray of shape (4, 12, 12, 1), expected the path of an image file
bnn.read_picture(model, "a.png") | a.png: the network's file does not say how pixels become its input; compile it with
bnn.read_picture(model, b"x") | picture: not an image that Pillow can read
bnn.read_picture(model, b"") | picture: is empty; save it again
bnn.read_picture(model, "x.npy") | x.npy: found an array, expected a picture; read it with np.load
bnn.read_picture("net.bnn", "a.png") | model: found 'net.bnn', expected a compiled model: bnn.load(path)
bnn.Model("net.bnn") | Model: found 'net.bnn', expected a file that was opened: use bnn.load(path)
bnn.Model.from_bytes("net.bnn") | found str, expected the bytes of a .bnn file
closed(x) | closed>: load it again with bnn.load(path)
model() | missing 1 required positional argument: 'x'
model(x, threads=2) | unexpected keyword argument 'threads'
model(None) | input 'image': found None, expected an array of float32
model("a.png") | found 'a.png', expected an array of float32; read the file first: np.load(path)
model(Path("a.png")) | found 'a.png', expected an array of float32; read the file first: np.load
model(x[0]) | found shape (12, 12, 1), expected (N, 12, 12, 1); for one image without a batch dimension pass x[None]
model(x.transpose(0, 3, 1, 2)) | expected (N, 12, 12, 1); np.moveaxis(x, 1, -1) puts the channels last
model(x.reshape(4, -1)) | expected (N, 12, 12, 1); x.reshape(-1, 12, 12, 1) has it
model(x[..., 0]) | expected (N, 12, 12, 1); x.reshape(-1, 12, 12, 1) has it
model(x.astype(np.float64)) | found dtype float64, expected float32; convert with x.astype(np.float32), scaled as
model(x.astype(str)) | found dtype <U32, expected an array of float32
model({"picture": x}) | the inputs are called 'image'; missing: 'image'; unknown: 'picture'
model([[1.0], [1.0, 2.0]]) | input 'image': list is not an array
model([x, x[:, :9]]) | the model has 1 input ('image'), found 2 arrays; pass its array alone
bnn.calibrate(model, (x, y)) | the model has 1 input ('image'), found 2 arrays; pass its array alone
model(np.ma.masked_all((1, 12, 12, 1), np.float32)) | masked array, expected ... without gaps; use x.filled(value)
model(Strange()) | input 'image': Strange is not an array: no array
model(np.zeros((1, 12, 12, 1), object)) | found dtype object, expected an array of float32
model(vast(12, 12, 1)) | found shape (1099511627776, 12, 12, 1) of float32, 633,318,697,598,976
model(np.broadcast_to(x[0], (2**40, 12, 12, 1))) | pass fewer at a time
model(x, out=np.empty((4, 9), np.float32)) | out 'probabilities': found shape (4, 9), expected (4, 10)
pair(x) | the model has 2 inputs ('left', 'right'), found one ndarray; pass a list in this order, or a dict by name
pair.input_shape | the model has 2 inputs, expected one; use input_shapes
model.predict(x, threads=-1) | threads: found -1, expected 1 to 256
model.predict(x, threads=True) | threads: found True, expected a whole number
model.predict(x, batch_size=1.5) | batch_size: found 1.5, expected a whole number
model.predict(x, progress="no") | progress: found 'no', expected True or False
bnn.calibrate(model, x, keep_float=[None]) | keep_float: found None, expected a list of layers' names
bnn.verify("net.onnx", bnn.calibrate(model, x), x) | found Calibration, expected a compiled model: ...; give its .model
bnn.calibrate(model, 5) | input 'image': found a single value, of shape (), expected (N, 12, 12, 1)
model.evaluate(x) | y: found None, expected the right classes, or an x that gives batches
model.evaluate(x, y[:3]) | y: found shape (3,), expected (4,), a class for each image
model.evaluate(x, y + 99) | y: found 99, expected whole numbers from 0 to 9
model.evaluate(x, np.ones((4, 10))) | found shape (4, 10), expected rows with one 1 and zeros, or whole numbers
model.evaluate(iter([x])) | batch: found ndarray of shape (4, 12, 12, 1), expected (x, y): images and their classes
pair.evaluate(x, y) | the model has 2 outputs, expected one, of classes; count with model.predict(x)
single.evaluate(x, y % 2) | the model's output is (1,), expected ...; of a sigmoid, compare model.predict(x) > 0.5
model.profile(x, repeats=10**9) | repeats: found 1000000000, expected 1 to 1000000
model.stepper(10**9) | cannot allocate
model.save("") | '': cannot be written: Is a directory; give another path
model.save("no/net.bnn") | there is no folder .../no; make it, or give another path
bnn.compile(model) | , which is compiled; expected the model that was trained
bnn.compile(spiking) | , which is compiled; expected the model that was trained
bnn.compile("net.bnn") | is a compiled network; give the model that was trained: a .keras, .h5, .onnx
bnn.compile("net.bnn", unsafe="no") | unsafe: found 'no', expected True or False
bnn.compile("missing.keras") | missing.keras: no such file or folder; expected a .keras, .h5, .onnx or .tflite file
bnn.compile("folder") | a folder without saved_model.pb is not a SavedModel; ... model.export(folder) makes one
bnn.compile(None) | found NoneType, expected a Keras model, an ONNX model, a PyTorch module, or the path of a .keras
bnn.compile({"w": x}) | found a dict; give the PyTorch module itself, with its weights loaded
bnn.compile(Strange) | model: found the class Strange, expected a model: Strange(...)
bnn.compile("x" * 5000 + ".keras") | cannot be opened: File name too long
bnn.compile("net.onnx", example=x) | example: only a PyTorch module needs one, and the model is a str
bnn.compile("net.onnx", input_dtype="int16") | input_dtype: found 'int16', expected float32, uint8, int8
bnn.compile("net.onnx", labels=["a"]) | labels: found 1, expected one for each of 5 classes
bnn.compile("net.onnx", preprocess="imagnet") | preprocessing: found 'imagnet', expected one of imagenet, torchvision
bnn.compile("net.onnx", preprocess={"scal": 255}) | preprocessing: found 'scal', expected scale, mean, std, order, fit
bnn.compile("net.onnx", preprocess={"scale": None}) | found no scale, expected what pixels are divided by (1: they stay
bnn.compile("net.onnx", metadata={"a": 1}) | metadata: 'a': found 1, expected a text
bnn.Preprocessing("imagenet") | preprocessing: scale: found 'imagenet', expected a number
bnn.Preprocessing(0) | preprocessing: scale: found 0, expected a float32 that is not 0
bnn.Preprocessing(255, 0.5) | preprocessing: mean: found 0.5, expected a tuple, a number for each channel
bnn.Preprocessing(255, order="GRB") | preprocessing: order: found 'GRB', expected one of RGB, BGR
bnn.Preprocessing(255).apply(x) | pixels: found ..., expected whole numbers; pass scaled ones to the model itself
bnn.Preprocessing(255, (1, 2, 3)).apply(x) | pixels: found shape (4, 12, 12, 1), expected (..., 3)
bnn.verify("net.onnx", "net.bnn", x) | model: found 'net.bnn', expected a compiled model: bnn.load(path)
bnn.verify(model, model, x) | , which is compiled; expected the model that was trained
bnn.verify(1, 2, 3) | model: found 2, expected a compiled model: bnn.load(path)
bnn.verify_nir("missing.nir", model, x) | missing.nir: there is no such file; give the path of a NIR file
bnn.emit_c(model, "a.png", name="net") | a.png: cannot be created as a folder: File exists; give another path
bnn.emit_c(model, "c", name="My Net") | name: found 'My Net', expected a C identifier in lower case, like 'digits'
bnn.emit_c(model, "c", name=5) | name: found 5, expected a C identifier in lower case
bnn.emit_c(model, "c", name="net", trace=2) | trace: found 2, expected True or False
bnn.emit_c(model, "c", max_ram="16K") | max_ram: found '16K', expected a whole number
bnn.emit_c(model, "c", max_flash=0) | max_flash: found 0, expected 1 to
bnn.emit_c(model, "c", name="n", max_instructions=9) | the target 'generic', expected one of those counted: cortex-m0,
bnn.emit_c(model, None) | folder: found NoneType, expected a string or an os.PathLike
bnn.emit_c(pair, "c", output="class") | is for one vector of classes; use 'values' for f32[5, 5, 8], f32[6]
bnn.emit_c(Strange(), "c") | model: found Strange, expected a compiled model or the path of a .bnn
bnn.emit_nir("net.bnn", "net.bnn") | net.bnn: would overwrite the model; give another path
events.EventEngine("net.bnn") | model: found 'net.bnn', expected a compiled model: bnn.load(path)
engine.run_image(x) | x: found a batch of 4, expected one image
engine.run_image(x[0] * np.nan) | x: found nan at (0, 0, 0), expected finite numbers; 144 are not
engine.run_stream(x[:1]) | stream: found 1 frame...expected at least two
engine.run_events("rec.npz") | events: found 'rec.npz', expected a structured array ...recordings has read(path)
engine.run_events(x) | frames or spikes over time are not a recording: run_stream
engine.run_events(recorded, rule="windw") | rule: found 'windw', expected one of window, decay, surface
engine.run_events(recorded, tau=5) | tau: found 5, but rule window takes step, window, count; leave it out
engine.run_events(recorded, window="10ms") | window: found '10ms', expected a whole number
engine.run_events(recorded, window=10, step=20) | window: found 10 us, expected at least one step of 20 us
engine.run_events(recorded, origin=(99, 99)) | lies on the network's 12 x 12 pixels: ... move them there with origin
engine.run_events(recorded[::-1]) | events: time decreases at event 1 ...; sort them by t
engine.prepare(None) | data: found None, expected an array of numbers
engine.levels("conv") | layer: found 'conv', expected one of the engine's layers
events.Rule(["window"]) | rule: found list, expected one of window, decay, surface
recordings.read(None) | path: found NoneType, expected a string
engine.reset(), engine.prepare(0 * x), engine.push(x[:1]) | call reset() first
recordings.read("missing.bin") | missing.bin: there is no such recording; give the file: .npy, .npz, .csv, .txt
recordings.read("folder") | folder: is a folder; give the file: .npy, .npz, .csv, .txt, .h5
recordings.read("a.png") | a.png: unknown format; expected .npy, .npz, .csv, ..., or give its format: nmnist
recordings.read("x.npy") | x.npy: found float32, expected a structured array with fields x, y, p, t; 'x' is missing
recordings.decode_nmnist(b"text") | N-MNIST data: 4 bytes, expected a multiple of 5; copy it again
recordings.decode_nmnist("text") | found str, expected the bytes of N-MNIST data
recordings.from_fields([1], [1], [1], ["x"]) | t: found list, expected whole microseconds
recordings.from_fields([1], [1], [0], [0.5]) | expected whole microseconds; if they are seconds, multiply by 1e6
recordings.from_fields([1, 2], [1], [0], [5]) | have shapes [(2,), (1,), (1,), (1,)], expected four of one length
snn.load("net.bnn") | is a .bnn file, a network without time, and not a .snn file; use ... bnn.load
snn.SpikingModel("net.snn") | expected a file that was opened: use bnn.snn.load(path)
snn.compile("fake.nir", simulator="norse") | is not an HDF5 file, which NIR files are; copy or write it again
snn.compile("fake.nir", simulator="brian2") | simulator: found 'brian2', expected one of norse, snntorch
snn.compile("fake.nir") | missing 1 required keyword-only argument: 'simulator'
snn.compile("fake.nir", simulator="norse", reset="zero") | found 'zero', expected 'value' or 'subtract': Norse
spiking.run(s * 5) | input input: found 5 at ..., expected spikes, 0 or 1; ... show images with a coding: run_image
spiking.run(s[0]) | found shape (2, 8, 8), expected (steps, 2, 8, 8) or (steps, samples, 2, 8, 8)
spiking.run(s, record=5) | record: found 5, expected a list of populations' names
spiking.run(s, record=["cnv"]) | record: found 'cnv', expected one of input, conv, pool, output
spiking.state("cnv") | population: found 'cnv', expected one of input, conv, pool, output
spiking.run(s, learn=True) | no threshold adapts, expected learn=False
spiking.run(s, learn=None) | learn: found None, expected True or False
spiking.run(vast(2, 8, 8, dtype=bool)) | pass fewer at a time
spiking.weights("w1") | no projection learns in this network; build one with a Projection(learning=...)
learner.weights(5) | weights: found 5, expected the name of a projection
spiking.run_image(s[0] * 255.0, 5, coding="rate") | found values from 0 to 255, expected 0 to 1; divide them
spiking.run_image(s[0], 5, coding=5) | coding: found 5, expected one of constant, rate
spiking.run_events(recorded, dt=0) | dt: found 0, expected seconds of a step, more than 0
snn.build(model) | network: found Model, expected a Network; for a file use bnn.snn.load or bnn.snn.compile
snn.build(without) | b: found the parameters none, expected threshold, reset, initial, beta
convert(model, x) | , which is compiled; expected the model that was trained
convert("net.onnx", "x.npy") | images: found 'x.npy', expected an array of numbers; read the file first: np.load(path)
convert("net.onnx", np.zeros((0, 1, 5, 5))) | images: found none, expected at least one, like those of the training
image.describe("name") | names of classes: found 'name', expected a list of texts
image.describe([1] * 10) | expected a text
image.when(10**6) | moment: found 1000000, expected 0 to
"""

#: What is typed after bnn | a part of its error.
COMMANDS = r"""
compil net.onnx | Try 'bnn --help' for help. ... No such command 'compil'.
--verison | No such option...--verison...Did you mean...--version
run net.bnn | Try 'bnn run --help' for help. ... Missing argument 'INPUT...'. Give pictures, folders of them
run | Missing argument 'NET.bnn'. Give a network: bnn compile MODEL -o NET.bnn makes one
run missing.bnn a.png | missing.bnn: cannot be opened: ...; ... a .bnn file, made by bnn compile MODEL -o NET.bnn
run empty.bnn a.png | empty.bnn: the file is empty; make one with bnn compile MODEL -o NET.bnn
run cut.bnn x.npy | found 6903, expected 6912; copy the file again, or compile the model again
score net.bnn --output out | Missing option '--input'. Give pictures or Parquet files, such as --input photos/
run net.snn x.npy | is a .snn file, a network over time, and not a .bnn file; use bnn snn inspect, bnn snn run
run fake.keras x.npy | fake.keras: not a .bnn file: ...; make one with bnn compile MODEL
run net.bnn a.png | contains uint8 but the model reads float32; give --scale DIVISOR, the number by which
run net.bnn a.png --scal 255 | No such option...--scal...Did you mean...--scale
run net.bnn a.png --scale 1/255 | Invalid value for '--scale': '1/255' is not a number.
run net.bnn a.png --scale 0 | found 0.0, expected a finite float32 that is not 0
run net.bnn damaged.png --scale 255 | not an image that Pillow can read, and not .npy or .npz; if it is a picture
run net.bnn empty.png --scale 255 | empty.png: is empty; save it again
run net.bnn empty.npy | empty.npy: not a NumPy file: it is empty; write it with np.save or np.savez
run net.bnn big.png --scale 255 | the image is 30 x 20, the model reads 12 x 12 (width x height); give --resize
run net.bnn big.png | 12 x 12 (width x height); give --resize to resize it, and --scale DIVISOR, the number by which
run net.bnn labels.txt | numbers: np.save('labels.npy', np.loadtxt('labels.txt', ...).reshape(-1, 12, 12, 1))
run net.bnn folder | folder: found no picture in this folder, expected files such as .png or .jpg
run net.bnn fake.npy | fake.npy: not a NumPy file: ...; write it with np.save or np.savez
run net.bnn nchw.npy | found shape (4, 1, 12, 12), expected (N, 12, 12, 1) or ...; np.moveaxis(x, 1, -1) puts the
run net.bnn objects.npy | contains Python objects (object), expected numbers; nothing is unpickled
run net.bnn two.npz | two.npz: found arrays a, b; expected the names of the inputs: image
run net.bnn events.npy | events (x, y, p, t), expected numbers; recordings are for bnn events --mode recording
run net.bnn x.npy --top two | Invalid value for '--top': 'two' is not a whole number.
run pair.bnn x.npy | the model has 2 inputs; give an .npz file with arrays left, right
run net.bnn x.npy --layout NCHW | Try 'bnn run --help' for help. ... No such option...--layout
run net.bnn x.npy --top 0 | Invalid value for '--top': 0 is not in the range x>=1.
run net.bnn x.npy --labels labels.txt | labels.txt: found 2 labels, the model has 10 classes; give one name per line
run net.bnn x.npy --labels a.png | a.png: not a UTF-8 text file: ...; expected a text file of class names, one per line
run net.bnn x.npy --output x.npy | --output x.npy: would overwrite the input x.npy; give another path
run net.bnn x.npy --output out.csv | --output out.csv: expected a name ending in .npy or .npz
run net.bnn x.npy --output no/out.npy | cannot be written: there is no folder .../no; make it, or give another path
evaluate net.bnn x.npy | found no right classes; give --targets FILE.npy, or a folder with a folder of pictures
evaluate net.bnn missing | Path 'missing' does not exist; give a folder with a folder of pictures per class
evaluate net.bnn x.npy --targets three.npy | --targets: found shape (3,), expected (4,), a class for each image
evaluate net.bnn x.npy --targets labels.txt | --targets labels.txt: expected a .npy file; write one with np.save
evaluate net.bnn x.npy --targets missing.npy | missing.npy: cannot be opened: ...; expected a .npy file of the right
evaluate net.bnn photos --targets three.npy | --targets is for arrays; a folder's names are its classes: leave it out
evaluate net.bnn photos | found 2 folders, and the model has 10 classes without names; give --labels FILE, the names
evaluate net.bnn photos --labels ten.txt | 'cat' is not a label, expected one of ...; rename the folder, or give
evaluate single.bnn x.npy --targets three.npy | of a sigmoid, compare model.predict(x) > 0.5 with the classes
inspect fake.tflite | fake.tflite: is a TensorFlow Lite file, and not a .bnn file; compile it first: bnn compile fake.
bench net.bnn --batch a,b | found 'a,b', expected numbers from 1 to 1048576 like 1,8
compile missing.keras | Path 'missing.keras' does not exist; give a .keras, .h5, .onnx or .tflite file
compile folder | a folder without saved_model.pb is not a SavedModel; expected ...; model.export(folder) makes one
compile fake.nir | is a network of spiking neurons; compile it with bnn snn compile NET.nir --simulator SIMULATOR
compile fake.onnx | not a file of protocol buffers, or damaged; export it again
compile net.onnx -o out.keras | -o out.keras: expected a name ending in .bnn
compile net.onnx --input-shape 5,5,x | found '5,5,x', expected something like 32,32,3
compile net.onnx --labels labels.txt | labels.txt: labels: found 2, expected one for each of 5 classes
compile net.onnx --preprocess imagnet | --preprocess imagnet: expected imagenet, torchvision, tf, caffe, or a .json file
compile net.onnx --preprocess broken.json | broken.json: not JSON: ...; expected an object like {"scale": 255}
compile net.onnx --calibrate a.png | the model reads 5 x 5 (width x height); give --preprocess, how a picture becomes
compile net.onnx --calibrate bits.npy | contains int8 but the model reads float32; give --preprocess
compile net.onnx -o a.snn | so nothing in it spikes; train it with quantizers, or turn its ReLUs into counters: bnn snn
compile net.onnx --meta =me | Invalid value for '--meta': found '=me', expected KEY=TEXT
compile net.onnx --max-memory lots | found 'lots', expected something like 512M or 8G; 0: no limit
verify net.bnn net.bnn | net.bnn: is a compiled network; expected: bnn verify MODEL NET.bnn
verify net.onnx net.bnn | takes images (5, 5, 1), the file (12, 12, 1); give the input shape ... or the model
verify net.onnx net.bnn --importer norse | --importer is for NIR files; add --nir, or leave it out
verify fake.nir net.bnn --nir --zero 1 | --zero is for trained models; leave out either it or --nir
verify net.onnx net.bnn --data x.npy --random 5 | --random is for random images; leave out either it or --data
verify net.onnx net.bnn --scale 255 | --scale is for files, found none to read; leave it out
emit c net.bnn | Missing option '-o' / '--folder'. Give a folder for the files: -o
emit c net.bnn -o c --max-ram lots | found 'lots', expected something like 16K or 1M
emit c net.bnn -o c --max-ram 1 | --max-ram: found ... bytes of RAM, expected at most 1; the largest output is that of '
emit c net.bnn -o c --name 9 | --name: found '9', expected a C identifier in lower case
calibrate net.bnn x.npy -o o.bnn --keep-float none | --keep-float: found 'none', expected float layers of this network
calibrate net.bnn x.npy -o o.bnn --int16 sum | --int16: needs --integer-only; without it, sums of two values stay float
emit c net.bnn -o c --offset 1 | --offset is for files, found none to read; leave it out
emit nir net.bnn out.txt | OUT.nir out.txt: expected a name ending in .nir or .h5 or .hdf5
events pair.bnn x.npy | the model has 2 inputs, expected one; use bnn run
events net.bnn nan.npy --image 1 | nan.npy: image 1: found nan at (0, 0, 0), expected finite numbers; 144 are not
events net.bnn x.npy --image 9 | --image 9: the input has 4 images, 0 to 3
events net.bnn x.npy --window 20000 | --window is for --mode recording, found --mode image; leave it out
events net.bnn rec.npz --mode recording --tau 5 | --tau is not for --rule window, which takes --step, --window, --count
events net.bnn rec.npz --mode recording --window 10ms | Invalid value for '--window': '10ms' is not a whole number
snn compile fake.nir --as norse | is not an HDF5 file, which NIR files are; copy or write it again
snn compile fake.nir --as norse -o net.bnn | -o net.bnn: expected a name ending in .snn
snn compile train.py:net --as norse | compiling it runs train.py, with your rights; if you trust it, say --unsafe
snn compile train.py:net --as norse --unsafe | found no --sample; expected an input as the module takes it, a .npy file
snn compile train.py:net --as norse --unsafe --dt 1 | --dt is for NIR files, and a module says it itself; leave it out
snn compile train.py:net --as norse --unsafe --sample fake.nir | there is no file train.py; expected FILE.py:NAME
snn compile fake.nir --as norse --unsafe | --unsafe is for FILE.py:NAME; leave it out
snn compile code.py --as nengo --unsafe | found a Python file, expected code.py:NAME, the name of the network in it
snn convert net.onnx | Missing option '--data'. Give images of the training, such as --data x.npy
snn convert net.onnx --data a.png | a.png: not a NumPy file: ...; write it with np.save or np.savez
snn convert net.onnx --data x.npy | x.npy: found shape (4, 12, 12, 1), expected (N, 1, 5, 5)
snn run net.snn | expected --data or --recording, found neither
snn run net.snn --data a.png | a.png: expected .npy or .npz; for image files add --coding and --steps
snn run net.snn --data x.npy | found shape (4, 12, 12, 1), expected (steps, 2, 8, 8) or (steps, samples, 2, 8, 8)
snn run net.snn --data s.npy --coding rate | --coding rate needs --steps, the number of steps for which an image
snn run net.snn --data s.npy --recording rec.npz | expected --data or --recording, not both
snn run net.snn --recording missing.bin | missing.bin: there is no such recording; give the file: .npy, .npz
snn run net.snn --recording rec.npz --format nmnist | rec.npz: ... bytes, expected a multiple of 5; copy it again
snn run net.snn --recording rec.npz --columns txyp | for a recording whose file says what its numbers are; leave it out
snn run net.snn --recording rec.npz --origin 99 99 | lies on the network's 8 x 8 pixels: ...; move them there
snn run net.snn --data s.npy --label 9 | --label 9: the model has 4 classes; give a number, 0 to 3
events net.bnn x.npy --label c --labels ten.txt | has 10 classes; give a number, 0 to 9, or a label, one of c0, c1
snn run net.snn --data s.npy --targets three.npy | three.npy: found 3 classes, expected one for each of 1 samples
snn verify fake.nir net.snn --model train.py:net | there is no file train.py; expected FILE.py:NAME
score net.bnn --input x.npy --output out | found an array, expected pictures or Parquet files; use bnn run for arrays
score net.bnn --input photos --output photos | lies inside the input photos; give a folder outside it
score net.bnn --input photos --output out --workers 2 | --workers is for --on ray; leave it out, or give --threads
score net.bnn --input photos --output out --column image | found pictures ..., expected Parquet files; leave it out
"""
NEEDS = {"net.onnx": "onnxruntime", "fake.onnx": "onnxruntime", "fake.nir": "h5py", "score ": "pyarrow"}


def rows(table: str) -> list[Any]:
    made = []
    for line in table.strip().splitlines():
        call, message = line.split(" | ")
        missing = [package for part, package in NEEDS.items() if part in call and not importlib.util.find_spec(package)]
        said = re.compile(re.sub(r"(\\ )?\\\.\\\.\\\.(\\ )?", ".*", re.escape(message)), re.DOTALL)
        made.append(pytest.param(call, said, id=call, marks=pytest.mark.skipif(bool(missing), reason=f"no {missing}")))
    return made


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What an expression may use; the files are in the current folder."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("wrong"))
    small = conftest.Small(conftest.small_graph())
    x, t = small.inputs(4)[0], np.arange(60) * 300
    w = SimpleNamespace(x=x, y=np.arange(4), s=(np.random.default_rng(0).random((6, 2, 8, 8)) < 0.2).astype(np.uint8))
    build, image = conftest.Builder(), input_node("image", (12, 12, 1))
    score = build.dense(build.sign(image, "sign"), 1, "dense")
    single, pair = (conftest.Small(g) for g in (Graph((image,), (score,), ("score",)), conftest.two_by_two_graph()))
    contents = {
        "net.bnn": small.data, "pair.bnn": pair.data, "single.bnn": single.data, "cut.bnn": small.data[:-9],
        **dict.fromkeys(("empty.bnn", "empty.npy", "empty.png", "code.py"), b""),
        "net.snn": snn.build(small_network()).to_bytes(), "labels.txt": b"cat\ndog\n",
        "ten.txt": b"".join(b"c%d\n" % i for i in range(10)), "broken.json": b"{", "net.onnx": b"",
        "fake.tflite": b"\x1c\0\0\0TFL3", **{f"fake.{kind}": b"hello" for kind in ("npy", "onnx", "keras", "nir")},
    }  # fmt: skip
    for name, data in contents.items():
        Path(name).write_bytes(data)
    arrays = {"x": x, "nchw": x.transpose(0, 3, 1, 2), "three": np.arange(3), "s": w.s, "objects": np.array([None])}
    arrays["bits"] = np.ones((4, 1, 5, 5), np.int8)
    arrays["nan"] = np.where(np.arange(len(x)).reshape(-1, 1, 1, 1) == 1, np.float32(np.nan), x)
    for name, array in arrays.items():
        np.save(f"{name}.npy", array, allow_pickle=True)
    np.savez("two.npz", a=x, b=x)
    np.savez("rec.npz", x=t % 8, y=t // 7 % 8, p=t % 2, t=t)
    np.save("events.npy", recordings.read("rec.npz"))
    for folder in ("folder", "photos/cat", "photos/dog"):
        Path(folder).mkdir(parents=True)
    for path, size in (("a.png", (12, 12)), ("photos/cat/a.png", (12, 12)), ("big.png", (30, 20))):
        Image.new("L", size).save(path)
    Path("damaged.png").write_bytes(Path("a.png").read_bytes()[:40])
    if importlib.util.find_spec("onnxruntime"):
        hostile_text.onnx_file(Path("net.onnx"))
    w.model, w.closed, w.pair, w.single = map(bnn.load, ("net.bnn", "net.bnn", "pair.bnn", "single.bnn"))
    w.closed.close()
    w.spiking, w.learner, w.engine = snn.load("net.snn"), snn.build(learner()), events.EventEngine(w.model)
    w.recorded, w.image = recordings.read("rec.npz"), w.engine.run_image(x[0], trace=True)
    spikes = Population("b", (5,), Dynamics(RULES["decay"], Reset.SUBTRACT), {}, output=True)
    ones = np.ones((5, 5), np.float32)
    w.without = Network([Population("a", (5,)), spikes], [Projection(0, 1, "dense", ones)])
    used = (np, bnn, events, snn, recordings, Path, Network, convert, vast, Strange)
    yield {**{u.__name__.rpartition(".")[2]: u for u in used}, "np": np, **vars(w)}
    os.chdir(before)


def raises(file: str, line: int) -> bool:
    """Whether a line belongs to a raise statement: the error is meant."""
    tree = ast.parse("".join(linecache.getlines(file)))
    return any(isinstance(n, ast.Raise) and n.lineno <= line <= (n.end_lineno or 0) for n in ast.walk(tree))


@pytest.mark.parametrize(("call", "said"), rows(CALLS))
def test_calls(call: str, said: re.Pattern[str], names: dict[str, Any]) -> None:
    """An error of the package, from a statement that raises it; or Python's own, of a call that binds no arguments."""
    with pytest.raises((bnn.BnnError, TypeError)) as caught:
        eval(compile(call, "call", "eval"), names)
    last = caught.traceback[-1]
    if isinstance(caught.value, bnn.BnnError):
        assert isinstance(caught.value, (OSError, ValueError, NotImplementedError))
        assert Path(bnn.__file__).parent in Path(last.path).parents and raises(str(last.path), last.lineno + 1)
    else:
        assert str(last.path).endswith("call")
    text = str(caught.value)
    assert said.search(text) and len(text) >= 25 and "bug" not in text


@pytest.mark.parametrize(("typed", "said"), rows(COMMANDS))
def test_commands(call: Any, typed: str, said: re.Pattern[str], names: dict[str, Any]) -> None:
    """Status 2; one message, as the last thing on stderr; nothing on stdout, and no file is left."""
    before = sorted(os.listdir())
    done = call(*shlex.split(typed))
    assert done.status == 2 and not done.out and "this is a bug" not in done.err
    error = done.err.rstrip().rpartition("\n\n")[2]
    assert error.startswith("Error: ") or error.splitlines()[-1].startswith("bnn: error: ")
    assert said.search(done.err) and sorted(os.listdir()) == before


def test_there_are_many() -> None:
    assert len(rows(CALLS)) >= 75 and len(rows(COMMANDS)) >= 75
