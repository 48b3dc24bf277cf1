#include "config.h"
#include "model/tensors.h"

#include <string.h>

long model_tensor_slots(const struct model_config *c)
{
    return c->num_layers * LT_COUNT + 3;
}

int model_tensor_at(const struct model_config *c, long slot, struct model_tensor *t)
{
    long in_layers = c->num_layers * LT_COUNT;
    *t = (struct model_tensor){.ndim = 2, .shape = {c->vocab_size, c->hidden_size}};
    if (slot == 0) {
        strcpy(t->name, NAME_EMBED);
    } else if (slot <= in_layers) {
        enum layer_tensor lt = (enum layer_tensor)((slot - 1) % LT_COUNT);
        if (!layer_tensor_shape(c, lt, &t->shape[0], &t->shape[1]))
            return 0;
        t->ndim = t->shape[1] ? 2 : 1;
        layer_tensor_name(t->name, lt, (slot - 1) / LT_COUNT);
    } else if (slot == in_layers + 1) {
        t->ndim = 1;
        t->shape[0] = c->hidden_size;
        strcpy(t->name, NAME_NORM);
    } else {
        strcpy(t->name, NAME_HEAD);
        return !c->tied && slot == in_layers + 2;
    }
    return 1;
}
