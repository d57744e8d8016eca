"""Key figures: what lists were seen, clicked, and followed by orders, by hour and scope.

`attribution` says what a shopper's events add to which figure; it is pure, and the definition of every
figure. `hour_sums` adds up; `publishing` writes Redis commands; `step` is the keyed step.
"""
