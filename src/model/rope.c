#include "config.h"
#include "model/rope.h"

#include <math.h>

static double llama3_scaled(const struct model_config *c, double f)
{
    const double pi = 3.14159265358979323846;
    double wavelength = 2 * pi / f, old = (double)c->rope_original_positions;
    if (wavelength > old / c->rope_low_freq)
        return f / c->rope_factor;
    if (wavelength < old / c->rope_high_freq)
        return f;
    double smooth = (old / wavelength - c->rope_low_freq) / (c->rope_high_freq - c->rope_low_freq);
    return (1 - smooth) * f / c->rope_factor + smooth * f;
}

void rope_inv_freq(const struct model_config *c, long length, double *inv_freq)
{
    double C = (double)c->head_dim, theta = c->rope_theta;
    if (c->rope == ROPE_DYNAMIC && length > c->max_positions) {
        double stretch = c->rope_factor * (double)length / (double)c->max_positions;
        theta *= pow(stretch - (c->rope_factor - 1), C / (C - 2));
    }
    for (long i = 0; i < c->head_dim / 2; i++) {
        double f = pow(theta, -2.0 * (double)i / C);
        if (c->rope == ROPE_LINEAR)
            f /= c->rope_factor;
        else if (c->rope == ROPE_LLAMA3)
            f = llama3_scaled(c, f);
        inv_freq[i] = f;
    }
}
