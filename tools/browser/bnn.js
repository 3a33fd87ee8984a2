// SPDX-License-Identifier: Apache-2.0
// Runs a .bnn file in a browser, bit for bit as everywhere else:
//
//     import { Network } from "./bnn.js";
//     const bytes = async url => new Uint8Array(await (await fetch(url)).arrayBuffer());
//     const network = await Network.open([await bytes("bnn-simd128.wasm"), await bytes("bnn.wasm")], await bytes("model.bnn"));
//     const [probabilities] = network.run([image]); // image: as many numbers as network.inputs[0].shape has elements
//
// A module has memory for one network, and a network computes one image at a time.

const ARRAYS = { f32: Float32Array, u8: Uint8Array, i8: Int8Array };
const TYPES = ["f32", "b1", "i32", "u8", "i8"]; // in the order of bnn.h

export class BnnError extends Error {}

export class Network {
  // modules: bytes of builds of the runtime, best first; the first that this browser can run is taken.
  // file: bytes of a .bnn file.  Throws BnnError, with what is wrong, if the file is not valid.
  static async open(modules, file) {
    const module = modules.find(bytes => WebAssembly.validate(bytes));
    if (module === undefined) throw new BnnError("this browser runs none of the WebAssembly modules");
    const { instance } = await WebAssembly.instantiate(module);
    return new Network(instance.exports, file);
  }

  #wasm;
  #inputs; // each with its place, a typed array's class and its number of elements
  #outputs;

  constructor(wasm, file) {
    this.#wasm = wasm;
    const place = wasm.web_take(file.length);
    if (place === 0) throw new BnnError("there is not enough memory");
    new Uint8Array(wasm.memory.buffer, place, file.length).set(file);
    this.#check(wasm.web_open(place, file.length));
    const list = (count, make) => Array.from({ length: count }, (_, i) => make(i));
    this.kernels = this.#text(wasm.web_kernels()); // "simd128" or "flash"
    // Of an input or output its name, type ("f32", "b1", "u8", "i8") and shape; of an op its name, its source layer, and
    // the type and shape of its result.
    this.inputs = list(wasm.web_input_count(), i => this.#tensor(wasm.web_input_tensor(i)));
    this.outputs = list(wasm.web_output_count(), i => this.#tensor(wasm.web_output_tensor(i)));
    this.ops = list(wasm.web_op_count(), i => this.#op(i));
    this.#inputs = this.inputs.map((x, i) => ({ array: ARRAYS[x.type], place: wasm.web_input(i), size: elements(x) }));
    this.#outputs = this.outputs.map((x, i) => ({ place: wasm.web_output(i), size: elements(x) }));
  }

  // The outputs, a Float32Array each, for one image: an array or typed array of numbers for each input.
  run(images) {
    this.#checkImages(images);
    this.#inputs.forEach(({ array, place, size }, i) => new array(this.#wasm.memory.buffer, place, size).set(images[i]));
    this.#check(this.#wasm.web_run());
    return this.#outputs.map(({ place, size }) => new Float32Array(this.#wasm.memory.buffer, place, size).slice());
  }

  // Microseconds of one run on the images of the last call of `run`: the least mean of some turns.
  // Browsers' clocks are coarse, so a turn has many runs.
  time(turns = 3, milliseconds = 4) {
    let best = Infinity;
    for (let turn = 0; turn < turns; turn++) {
      const start = performance.now();
      let runs = 0, passed = 0;
      for (; passed < milliseconds; passed = performance.now() - start)
        for (let i = 0; i < 10; i++, runs++) this.#wasm.web_run();
      best = Math.min(best, 1000 * passed / runs);
    }
    return best;
  }

  // Runs one op after another; yields each with its result: bits are +1 and -1, bytes whole numbers.
  *layers(images) {
    this.#checkImages(images);
    images.forEach((image, i) => {
      this.#values(elements(this.inputs[i])).set(image);
      this.#check(this.#wasm.web_poke(this.#wasm.web_input_tensor(i)));
    });
    for (const [i, op] of this.ops.entries()) {
      this.#check(this.#wasm.web_step(i));
      this.#check(this.#wasm.web_peek(op.tensor));
      yield { ...op, values: this.#values(elements(op)).slice() };
    }
  }

  #checkImages(images) {
    const expected = this.inputs.map(elements);
    const found = images.map(image => image.length);
    if (expected.join() !== found.join()) throw new BnnError(`images of ${found} elements, expected ${expected}`);
  }

  #values(size) {
    return new Float32Array(this.#wasm.memory.buffer, this.#wasm.web_values(), size);
  }

  #check(status) {
    if (status === 0) return;
    const wasm = this.#wasm, text = this.#text(wasm.web_status(status)), field = this.#text(wasm.web_problem());
    throw new BnnError(field ? `${text}: ${field}: found ${wasm.web_found()}, expected ${wasm.web_expected()}` : text);
  }

  #text(place, length = new Uint8Array(this.#wasm.memory.buffer).indexOf(0, place) - place) {
    return new TextDecoder().decode(new Uint8Array(this.#wasm.memory.buffer, place, length));
  }

  #words(place, count) {
    return new Uint32Array(this.#wasm.memory.buffer, place, count);
  }

  #op(i) {
    const [op, layer, length, tensor] = this.#words(this.#wasm.web_op(i), 4);
    const { type, shape } = this.#tensor(tensor);
    return { op: this.#text(op), layer: this.#text(layer, length), type, shape, tensor };
  }

  #tensor(tensor) {
    const place = this.#wasm.web_tensor(tensor);
    if (place === 0) throw new BnnError(`tensor ${tensor} has no shape of at most three dimensions`);
    const [name, length, type, rank, ...dims] = this.#words(place, 7);
    return { name: this.#text(name, length), type: TYPES[type], shape: dims.slice(0, rank) };
  }
}

function elements({ shape }) {
  return shape.reduce((product, size) => product * size, 1);
}
