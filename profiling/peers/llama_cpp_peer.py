"""One measurement of llama.cpp through llama-cpp-python's low-level interface.

    llama_cpp_peer.py run MODEL.gguf '{"prompt_tokens": 192, ...}'      prints one JSON object
    llama_cpp_peer.py quantize MODEL.gguf OUT.gguf q4_0|q8_0

Runs in the environment that compare.py makes. Tokens are fed, not sampled: the peer is given the
time of sampling. Prompts are whole sequences in batches of up to 2,048 tokens and only the last
token of a prompt asks for logits.
"""

import ctypes
import json
import random
import sys
import time

import llama_cpp as api

BATCH_TOKENS = 2048
WARM_UP_TOKENS = 256


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def be_quiet(_level, _text, _data):
    """llama.cpp logs its loading line by line."""


class Engine:
    """A model, a context and one batch that is filled again and again."""

    def __init__(self, path, shape):
        self.sequences = shape["sequences"]
        self.model = api.llama_model_load_from_file(path.encode(),
                                                    api.llama_model_default_params())
        if not self.model:
            sys.exit(f"{path}: llama.cpp cannot load it")
        length = shape["prompt_tokens"] + shape["output_tokens"]
        parameters = api.llama_context_default_params()
        parameters.n_ctx = self.sequences * (-(-length // 256) * 256)
        parameters.n_batch = BATCH_TOKENS
        parameters.n_ubatch = shape["ubatch"]
        parameters.n_seq_max = self.sequences
        parameters.n_threads = parameters.n_threads_batch = shape["threads"]
        parameters.kv_unified = shape["unified_kv"]
        parameters.flash_attn_type = 1 if shape["flash_attention"] else 0
        self.context = api.llama_init_from_model(self.model, parameters)
        if not self.context:
            sys.exit("llama.cpp cannot make a context of this size")
        self.memory = api.llama_get_memory(self.context)
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.batch = api.llama_batch_init(BATCH_TOKENS, 0, 1)
        self.computed = 0

    def add(self, token, position, sequence, wants_logits):
        i = self.batch.n_tokens
        self.batch.token[i] = token
        self.batch.pos[i] = position
        self.batch.n_seq_id[i] = 1
        self.batch.seq_id[i][0] = sequence
        self.batch.logits[i] = wants_logits
        self.batch.n_tokens = i + 1

    def compute(self):
        if self.batch.n_tokens == 0:
            return
        status = api.llama_decode(self.context, self.batch)
        if status != 0:
            sys.exit(f"llama_decode: {status}")
        self.computed += self.batch.n_tokens
        self.batch.n_tokens = 0

    def prefill(self, parts, first, wants_logits):
        """Computes `parts`, {sequence: tokens}, from position `first` on."""
        for sequence, tokens in parts.items():
            if self.batch.n_tokens + len(tokens) > BATCH_TOKENS:
                self.compute()
            for i, token in enumerate(tokens):
                last = wants_logits and i + 1 == len(tokens)
                self.add(token, first + i, sequence, last)
        self.compute()
        api.llama_synchronize(self.context)

    def share(self, source, targets):
        for target in targets:
            if target != source:
                api.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def clear(self):
        api.llama_memory_clear(self.memory, False)
        self.computed = 0


def prefill_shared(engine, prompts, shape):
    """The prompts, with the beginning that several have in common computed once and copied."""
    everyone = range(engine.sequences)
    shared = shape["template_tokens"] if shape["share"] != "nothing" else 0
    if shared > 0:
        engine.prefill({0: prompts[0][:shared]}, 0, False)
        engine.share(0, everyone)
    if shape["share"] == "item":
        end = shared + shape["item_tokens"]
        heads = everyone[::shape["segments_per_item"]]
        engine.prefill({head: prompts[head][shared:end] for head in heads}, shared, False)
        for head in heads:
            engine.share(head, range(head, min(head + shape["segments_per_item"], len(everyone))))
        shared = end
    engine.prefill({i: prompts[i][shared:] for i in everyone}, shared, True)


def measure(path, shape):
    engine = Engine(path, shape)
    numbers = random.Random(1)

    def tokens(count):
        return [numbers.randrange(engine.vocabulary) for _ in range(count)]

    template, item = tokens(shape["template_tokens"]), []
    prompts = []
    for sequence in range(engine.sequences):
        if sequence % shape["segments_per_item"] == 0:
            item = tokens(shape["item_tokens"])
        own = shape["prompt_tokens"] - len(template) - len(item)
        prompts.append(template + item + tokens(own))
    outputs = [tokens(engine.sequences) for _ in range(shape["output_tokens"] - 1)]

    engine.prefill({0: tokens(WARM_UP_TOKENS)}, 0, True)
    engine.clear()
    start = time.perf_counter()
    prefill_shared(engine, prompts, shape)
    prefilled = time.perf_counter()
    prefill_tokens = engine.computed
    for step, row in enumerate(outputs):
        for sequence, token in enumerate(row):
            engine.add(token, shape["prompt_tokens"] + step, sequence, True)
        engine.compute()
        api.llama_synchronize(engine.context)
    end = time.perf_counter()
    decode_tokens = engine.computed - prefill_tokens
    return {
        "copies_per_s": engine.sequences / (end - start),
        "wall_s": end - start,
        "prefill_tokens": prefill_tokens,
        "prefill_tokens_per_s": prefill_tokens / (prefilled - start),
        "decode_tokens_per_s": decode_tokens / (end - prefilled) if decode_tokens else 0,
        "system": api.llama_print_system_info().decode(),
    }


def quantize(source, target, name):
    """Every matrix in one type: llama.cpp's repacked kernels are its fastest."""
    parameters = api.llama_model_quantize_default_params()
    parameters.ftype = {"q4_0": api.LLAMA_FTYPE_MOSTLY_Q4_0,
                        "q8_0": api.LLAMA_FTYPE_MOSTLY_Q8_0}[name]
    parameters.allow_requantize = True
    parameters.pure = True
    status = api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))
    if status != 0:
        sys.exit(f"{source}: llama.cpp cannot quantise it to {name}")


def main(arguments):
    api.llama_log_set(be_quiet, ctypes.c_void_p(0))
    api.llama_backend_init()
    if arguments[0] == "quantize":
        quantize(*arguments[1:])
    else:
        print(json.dumps(measure(arguments[1], json.loads(arguments[2]))))


if __name__ == "__main__":
    main(sys.argv[1:])
