#include "kernels/integer_format.h"

static bool has_four_bits(enum cm_dtype dtype)
{
    return dtype == CM_Q4_0 || dtype == CM_Q4_1 || dtype == CM_Q4_K;
}

static uint32_t zero_of(enum cm_dtype dtype)
{
    return dtype == CM_Q4_0 ? 8 : 0;
}

struct cm_integer_format cm_integer_format(enum cm_precision precision, enum cm_dtype dtype)
{
    bool four_bits = precision == CM_PRECISION_INT4 && has_four_bits(dtype);
    return (struct cm_integer_format){
        .bits = four_bits ? 4 : 8,
        .scales = dtype == CM_Q6_K ? 2 : 1,
        .zero = four_bits ? zero_of(dtype) : 0,
        .has_minima = cm_quants_has_offset(dtype),
    };
}

void cm_integer_format_add(struct cm_integer_format *format, enum cm_dtype dtype)
{
    if (!has_four_bits(dtype) || zero_of(dtype) != format->zero) {
        format->bits = 8;
        format->zero = 0;
    }
    format->scales = dtype == CM_Q6_K ? 2 : format->scales;
    format->has_minima = format->has_minima || cm_quants_has_offset(dtype);
}

uint32_t cm_integer_unit_bytes(const struct cm_integer_format *format)
{
    uint32_t codes_bytes = format->bits * CM_INTEGER_PANEL * CM_QUANT_GROUP / 8;
    uint32_t sets = format->scales + format->has_minima;
    return codes_bytes + sets * CM_INTEGER_PANEL * (uint32_t)sizeof(float);
}
