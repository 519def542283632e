from edge_sdk.adaptation import FixedPolicy
from edge_sdk.testing import check_policy, sample_tasks
from edge_sdk.values import Reading

NOW = Reading(at_s=1.0)


def test_keeps_the_contract_of_a_policy() -> None:
    check_policy(FixedPolicy())
    check_policy(FixedPolicy(codec="float16", epochs=2))


def test_takes_what_the_server_prefers() -> None:
    task = sample_tasks()[1]
    choice = FixedPolicy().decide(None, task, NOW)
    assert (choice.takes_part, choice.codec, choice.epochs) == (True, "eden:bits=2", 5)
    assert "eden:bits=2" in choice.why


def test_insists_on_its_codec_or_sits_out_and_says_why() -> None:
    float32_only, several = sample_tasks()[:2]
    policy = FixedPolicy(codec="float16", epochs=1)
    taken = policy.decide(None, several, NOW)
    assert (taken.takes_part, taken.codec, taken.epochs) == (True, "float16", 1)
    declined = policy.decide(None, float32_only, NOW)
    assert not declined.takes_part
    assert "float16" in declined.why
