"""One measurement of CTranslate2, int8.

    ctranslate2_peer.py run FOLDER '{"prompt_tokens": 192, ...}'     prints one JSON object
    ctranslate2_peer.py convert MODEL.gguf FOLDER                    llama and qwen2

Runs in the environment that compare.py makes. Prefill is timed by writing one token after each
prompt; what a longer call takes beyond that is decode. The template is given as a static prompt,
whose state CTranslate2 keeps from call to call.
"""

import json
import pathlib
import random
import sys
import time


def spec_of(reader, weights):
    from ctranslate2.specs import common_spec, transformer_spec

    family = reader.fields["general.architecture"].contents()
    if family not in ("llama", "qwen2"):
        sys.exit(f"{family}: a family that cannot be converted")

    def number(key):
        field = reader.fields[f"{family}.{key}"]
        return field.parts[field.data[0]][0].item()

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        int(number("block_count")), int(number("attention.head_count")),
        activation=common_spec.Activation.SWISH, pre_norm=True, ffn_glu=True, rms_norm=True,
        rotary_dim=0, rotary_interleave=family == "llama", rotary_base=number("rope.freq_base"),
        num_heads_kv=int(number("attention.head_count_kv")))
    spec.config.layer_norm_epsilon = number("attention.layer_norm_rms_epsilon")
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights("token_embd")
    decoder.projection.weight = weights("output", "token_embd")
    decoder.layer_norm.gamma = weights("output_norm")
    for i, layer in enumerate(decoder.layer):
        layer.self_attention.layer_norm.gamma = weights(f"blk.{i}.attn_norm")
        qkv = [f"blk.{i}.attn_{part}" for part in "qkv"]
        layer.self_attention.linear[0].weight = weights.joined(*qkv)
        if family == "qwen2":
            layer.self_attention.linear[0].bias = weights.joined(*qkv, kind="bias")
        layer.self_attention.linear[1].weight = weights(f"blk.{i}.attn_output")
        layer.ffn.layer_norm.gamma = weights(f"blk.{i}.ffn_norm")
        layer.ffn.linear_0.weight = weights(f"blk.{i}.ffn_gate")
        layer.ffn.linear_0_noact.weight = weights(f"blk.{i}.ffn_up")
        layer.ffn.linear_1.weight = weights(f"blk.{i}.ffn_down")
    return spec


class Weights:
    """The tensors of a GGUF file as float32."""

    def __init__(self, reader):
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def __call__(self, name, otherwise=None, kind="weight"):
        import gguf
        tensor = self.tensors.get(f"{name}.{kind}") or self.tensors[f"{otherwise}.{kind}"]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return values.astype("float32")

    def joined(self, *names, kind="weight"):
        import numpy
        return numpy.concatenate([self(name, kind=kind) for name in names])


def convert(source, folder):
    import gguf
    reader = gguf.GGUFReader(source)
    spec = spec_of(reader, Weights(reader))
    count = spec.decoder.embeddings.weight.shape[0]
    spec.register_vocabulary([f"t{i}" for i in range(count)])  # the measured prompts are ids
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "t1", "t2", "t0"
    spec.validate()
    spec.optimize(quantization="int8")
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    spec.save(folder)


def measure(folder, shape):
    import ctranslate2
    generator = ctranslate2.Generator(folder, device="cpu", compute_type="int8", inter_threads=1,
                                      intra_threads=shape["threads"])
    vocabulary = json.loads((pathlib.Path(folder) / "vocabulary.json").read_text("utf-8"))
    numbers = random.Random(1)
    template = numbers.choices(vocabulary, k=shape["template_tokens"])
    own = shape["prompt_tokens"] - len(template)
    prompts = []
    for sequence in range(shape["sequences"]):
        if sequence % shape["segments_per_item"] == 0:
            item = numbers.choices(vocabulary, k=shape["item_tokens"])
        prompts.append(item + numbers.choices(vocabulary, k=own - len(item)))

    def seconds(output_tokens):
        start = time.perf_counter()
        generator.generate_batch(prompts, max_length=output_tokens, min_length=output_tokens,
                                 static_prompt=template or None, sampling_topk=1,
                                 include_prompt_in_result=False)
        return time.perf_counter() - start

    prefill_s = seconds(1)
    wall_s = seconds(shape["output_tokens"])
    sequences = shape["sequences"]
    return {
        "copies_per_s": sequences / wall_s,
        "wall_s": wall_s,
        "prefill_tokens": sequences * own,
        "prefill_tokens_per_s": sequences * own / prefill_s,
        "decode_tokens_per_s": sequences * (shape["output_tokens"] - 1) / (wall_s - prefill_s),
        "system": f"ctranslate2 {ctranslate2.__version__}",
    }


def main(arguments):
    if arguments[0] == "convert":
        convert(*arguments[1:])
    else:
        print(json.dumps(measure(arguments[1], json.loads(arguments[2]))))


if __name__ == "__main__":
    main(sys.argv[1:])
